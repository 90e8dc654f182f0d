// The short lower-case words of enum values, typed: JOB_STATE_RUNNING is "running".
#ifndef GRADWATCH_CLIENT_CLI_WORDS_H_
#define GRADWATCH_CLIENT_CLI_WORDS_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <map>
#include <string>

#include "client/lib/enum_word.h"

namespace gradwatch::cli {

// "" for the value 0, which means unset; a value that this program does not know is told by its number.
template <typename E>
std::string Word(E value) {
  if (value == 0) return "";
  const auto* found = google::protobuf::GetEnumDescriptor<E>()->FindValueByNumber(value);
  return found == nullptr ? std::to_string(static_cast<int>(value)) : client::EnumWord(*found);
}

// The values by their words, without the unset one: for options.
template <typename E>
std::map<std::string, E> WordMap() {
  std::map<std::string, E> words;
  const auto* descriptor = google::protobuf::GetEnumDescriptor<E>();
  for (int i = 0; i < descriptor->value_count(); ++i) {
    const auto* value = descriptor->value(i);
    if (value->number() != 0) words[client::EnumWord(*value)] = static_cast<E>(value->number());
  }
  return words;
}

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WORDS_H_
