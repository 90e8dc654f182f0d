// Values as people read them in a terminal.
#ifndef GRADWATCH_CLIENT_CLI_TEXT_H_
#define GRADWATCH_CLIENT_CLI_TEXT_H_

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gradwatch::cli {

// Four significant digits, of whole numbers up to a million all; "NaN", "Infinity", "-Infinity".
std::string NumberText(double value);
// As many digits as it takes to tell it from all other numbers: for what people set, "0.1", "1.00001".
std::string ExactText(double value);
// "1.5 MiB".
std::string BytesText(int64_t bytes);
// "45 s", "12 min", "3 h", "5 d".
std::string DurationText(absl::Duration duration);
// "45 s ago", or "" for an unset time.
std::string AgoText(const google::protobuf::Timestamp& time, absl::Time now);
// "14:03:05", in whole seconds, rounded up; "2026-01-31 14:03:05" if that is another day than `now`.
std::string ClockText(const google::protobuf::Timestamp& time, absl::Time now, absl::TimeZone zone);
// Number of characters of UTF-8 text.
int CharacterCount(absl::string_view text);
// `text` in quotes for a POSIX shell, if it needs them.
std::string ShellQuoted(absl::string_view text);

// Columns as wide as their widest cell, two blanks between them; the first row is the header. Cells become Printable.
std::string TableText(const std::vector<std::vector<std::string>>& rows);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_TEXT_H_
