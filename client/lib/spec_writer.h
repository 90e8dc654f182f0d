// Writes messages as people and programs read them: JSON, YAML or textproto. What it writes, spec_reader.h reads.
#ifndef GRADWATCH_CLIENT_LIB_SPEC_WRITER_H_
#define GRADWATCH_CLIENT_LIB_SPEC_WRITER_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

enum class OutputSyntax { kJson, kJsonPretty, kYaml, kTextproto };  // kJson: on one line

struct FormatOptions {
  // Write also lists that are empty and values without presence that are 0, "" or false. Unset optional fields and
  // messages stay out. Of rules nothing is written that is not set.
  bool include_defaults = false;
  // Fields of these names were told in part or not at all (spec and tensors of a job in a list): of them and in them
  // nothing is written that is not set, whatever include_defaults says.
  std::vector<absl::string_view> partial = {};
};

// `message` without a line end after it. Names are the proto's own; 64-bit integers are numbers, doubles have the
// digits that read back the same; NaN and infinities are the strings "NaN", "Infinity", "-Infinity" in JSON and .nan,
// .inf, -.inf in YAML; enums are words ("relu"), times RFC 3339. Textproto is protobuf's own and takes no options.
std::string FormatMessage(const google::protobuf::Message& message, OutputSyntax syntax,
                          const FormatOptions& options = {});

// `text` as a JSON string, with quotes, and with escapes for all that is not printable (see utf8.h), as far as one
// escape of JSON holds it (up to U+FFFF).
std::string JsonString(absl::string_view text);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_SPEC_WRITER_H_
