#include "client/lib/text_form.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/lib/duration.h"
#include "client/lib/timestamp.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::Duration;
using ::google::protobuf::FieldMask;
using ::google::protobuf::Timestamp;

absl::Status ParseTimestamp(absl::string_view text, Timestamp* timestamp) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error) || time == absl::InfiniteFuture() ||
      time == absl::InfinitePast()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a time as 2026-01-31T12:00:00Z"));
  }
  *timestamp = ToTimestamp(time);
  return absl::OkStatus();
}

absl::Status ParseDuration(absl::string_view text, Duration* duration) {
  constexpr absl::Duration kMost = absl::Hours(24 * 3'652'500);  // ten thousand years, as of the message
  absl::Duration value;
  if (!absl::ParseDuration(text, &value) || absl::AbsDuration(value) > kMost) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a time span as 90s, 1h30m or 168h"));
  }
  *duration = ToDuration(value);
  return absl::OkStatus();
}

// In seconds, as protobuf's JSON has it: "604800s", "0.5s".
std::string FormatDuration(const Duration& duration) {
  const bool negative = duration.seconds() < 0 || duration.nanos() < 0;
  std::string text = absl::StrCat(negative ? "-" : "", std::abs(duration.seconds()));
  if (duration.nanos() != 0) {
    const std::string nanos = absl::StrFormat(".%09d", std::abs(duration.nanos()));
    absl::StrAppend(&text, nanos.substr(0, nanos.find_last_not_of('0') + 1));
  }
  return absl::StrCat(text, "s");
}

}  // namespace

bool HasTextForm(const google::protobuf::Descriptor& type) {
  return &type == Timestamp::descriptor() || &type == Duration::descriptor() || &type == FieldMask::descriptor();
}

absl::Status ParseTextForm(absl::string_view text, google::protobuf::Message* message) {
  if (message->GetDescriptor() == Timestamp::descriptor())
    return ParseTimestamp(text, static_cast<Timestamp*>(message));
  if (message->GetDescriptor() == Duration::descriptor()) return ParseDuration(text, static_cast<Duration*>(message));
  auto* const mask = static_cast<FieldMask*>(message);
  mask->Clear();
  for (const absl::string_view path : absl::StrSplit(text, ',', absl::SkipEmpty())) mask->add_paths(std::string(path));
  return absl::OkStatus();
}

std::string FormatTextForm(const google::protobuf::Message& message) {
  if (message.GetDescriptor() == FieldMask::descriptor()) {
    return absl::StrJoin(static_cast<const FieldMask&>(message).paths(), ",");
  }
  if (message.GetDescriptor() == Duration::descriptor()) return FormatDuration(static_cast<const Duration&>(message));
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E*SZ", FromTimestamp(static_cast<const Timestamp&>(message)),
                          absl::UTCTimeZone());
}

}  // namespace gradwatch::client
