// The short names of enum values on the outside: ACTIVATION_FUNCTION_RELU is "relu".
#ifndef GRADWATCH_CLIENT_LIB_ENUM_WORD_H_
#define GRADWATCH_CLIENT_LIB_ENUM_WORD_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// The name without the enum's own name before it, in lower case.
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value);

// The value with this word or full name, in any case of letters; null if there is none.
const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                                           absl::string_view name);

// The words of all values but 0, which means unset.
std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type);

// The word of a value of a generated type. "" for the value 0, which means unset; a value that this program does not
// know is told by its number.
template <typename E>
std::string Word(E value) {
  if (value == 0) return "";
  const auto* found = google::protobuf::GetEnumDescriptor<E>()->FindValueByNumber(value);
  return found == nullptr ? std::to_string(static_cast<int>(value)) : EnumWord(*found);
}

// The values of a generated type by their words, without the unset one: for options.
template <typename E>
std::map<std::string, E> WordMap() {
  std::map<std::string, E> words;
  const auto* descriptor = google::protobuf::GetEnumDescriptor<E>();
  for (int i = 0; i < descriptor->value_count(); ++i) {
    const auto* value = descriptor->value(i);
    if (value->number() != 0) words[EnumWord(*value)] = static_cast<E>(value->number());
  }
  return words;
}

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_ENUM_WORD_H_
