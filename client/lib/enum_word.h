// The short names of enum values on the outside: ACTIVATION_FUNCTION_RELU is "relu".
#ifndef GRADWATCH_CLIENT_LIB_ENUM_WORD_H_
#define GRADWATCH_CLIENT_LIB_ENUM_WORD_H_

#include <google/protobuf/descriptor.h>

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

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_ENUM_WORD_H_
