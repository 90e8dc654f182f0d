// Reads job specs, and other messages, that users write as YAML, JSON or textproto.
#ifndef GRADWATCH_CLIENT_LIB_SPEC_READER_H_
#define GRADWATCH_CLIENT_LIB_SPEC_READER_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::client {

enum class SpecSyntax { kYaml, kJson, kTextproto };

// Replaces `message` by what `text` says. INVALID_ARGUMENT with source, line, column, path and value: "job.yaml:12:7:
// model.layers[1].dens: no such field; did you mean dense?". See yaml_to_message.h for YAML and JSON.
absl::Status ParseMessage(absl::string_view text, SpecSyntax syntax, absl::string_view source_name,
                          google::protobuf::Message* message);

// Replaces `message` by what the file at `path` says; "-" is standard input. The syntax is told by the ending (.yaml,
// .yml; .json; .textproto, .txtpb, .pbtxt), else guessed. NOT_FOUND or PERMISSION_DENIED: the file; INVALID_ARGUMENT:
// its content, or more than 16 MiB.
absl::Status ReadMessage(const std::string& path, google::protobuf::Message* message);

// Rules of a file of their own, or of one with what a job says of them: "rules: {rules: [...]}", also beside all else
// that a job says. Errors as ReadMessage.
absl::StatusOr<v1::RuleSet> ReadRules(const std::string& path);

absl::StatusOr<v1::JobSpec> ParseJobSpec(absl::string_view text, SpecSyntax syntax, absl::string_view source_name);
absl::StatusOr<v1::JobSpec> ReadJobSpec(const std::string& path);

// Applies "path=value", for example "optimizer.learning_rate=0.1"; see SetFieldAtPath. INVALID_ARGUMENT with the path.
absl::Status SetField(v1::JobSpec* spec, absl::string_view assignment);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_SPEC_READER_H_
