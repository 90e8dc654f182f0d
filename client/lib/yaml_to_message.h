// Turns YAML, and with it JSON, into any protobuf message, led by the types of its fields.
#ifndef GRADWATCH_CLIENT_LIB_YAML_TO_MESSAGE_H_
#define GRADWATCH_CLIENT_LIB_YAML_TO_MESSAGE_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Replaces `message` by what one YAML document says. Names are the proto's own; values are read by the type of their
// field (see scalar_field.h), so `no` in a string field stays a string. An empty value is an empty message or list.
// INVALID_ARGUMENT names place, path and value: "job.yaml:12:7: model.layers[1].dens: no such field; did you mean
// dense?". Refused are: unknown fields, fields given twice, two fields of one choice, more than one document, text
// that is not UTF-8, values nested more than 100 deep and more than a million values. `source_name` is for messages.
absl::Status YamlToMessage(absl::string_view yaml, absl::string_view source_name, google::protobuf::Message* message);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_YAML_TO_MESSAGE_H_
