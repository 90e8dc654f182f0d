// Sets one field of a message by its path, for `--set path=value`.
#ifndef GRADWATCH_CLIENT_LIB_SET_FIELD_H_
#define GRADWATCH_CLIENT_LIB_SET_FIELD_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Replaces the field at `path` ("model.layers[0].dense.units", "labels.team") by `value`: for a single string the text
// itself, else YAML, for example a number or "[1, 2]". An index may be one past the end. Leaves the message as it was
// when it fails: INVALID_ARGUMENT, with the path.
absl::Status SetFieldAtPath(absl::string_view path, absl::string_view value, google::protobuf::Message* message);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_SET_FIELD_H_
