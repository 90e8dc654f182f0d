// Messages that stand as one string on the outside, as in protobuf's JSON: Timestamp (RFC 3339), Duration ("1.5s", read
// also as "36h" or "1h30m") and FieldMask.
#ifndef GRADWATCH_CLIENT_LIB_TEXT_FORM_H_
#define GRADWATCH_CLIENT_LIB_TEXT_FORM_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Whether messages of this type stand as a string.
bool HasTextForm(const google::protobuf::Descriptor& type);

// Fills a message that HasTextForm from `text`. INVALID_ARGUMENT says what is expected.
absl::Status ParseTextForm(absl::string_view text, google::protobuf::Message* message);

// The string of a message that HasTextForm: "2026-01-31T12:00:00.5Z", "604800s", "clip.mode,clip.threshold".
std::string FormatTextForm(const google::protobuf::Message& message);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_TEXT_FORM_H_
