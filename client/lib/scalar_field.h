// Sets a field that is one value from the text of that value, as its type demands.
#ifndef GRADWATCH_CLIENT_LIB_SCALAR_FIELD_H_
#define GRADWATCH_CLIENT_LIB_SCALAR_FIELD_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Sets `field` of `message`, or adds an element if it is repeated. The field is not a message. Numbers are decimal
// ("1e-3", "100", for integers also "1e6"); doubles may be ".nan", ".inf", "NaN", "Infinity"; bool is true or false;
// enums are words or full names; strings are taken as they are, bytes are base64.
// INVALID_ARGUMENT says what is expected and what was found.
absl::Status SetScalarField(absl::string_view text, const google::protobuf::FieldDescriptor& field,
                            google::protobuf::Message* message);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_SCALAR_FIELD_H_
