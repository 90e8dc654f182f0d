#include "client/lib/text_form.h"

#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::FieldMask;
using ::google::protobuf::Timestamp;

absl::Status ParseTimestamp(absl::string_view text, Timestamp* timestamp) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error) || time == absl::InfiniteFuture() ||
      time == absl::InfinitePast()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a time as 2026-01-31T12:00:00Z"));
  }
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>((time - absl::FromUnixSeconds(seconds)) / absl::Nanoseconds(1)));
  return absl::OkStatus();
}

}  // namespace

bool HasTextForm(const google::protobuf::Descriptor& type) {
  return &type == Timestamp::descriptor() || &type == FieldMask::descriptor();
}

absl::Status ParseTextForm(absl::string_view text, google::protobuf::Message* message) {
  if (message->GetDescriptor() == Timestamp::descriptor())
    return ParseTimestamp(text, static_cast<Timestamp*>(message));
  auto* const mask = static_cast<FieldMask*>(message);
  mask->Clear();
  for (const absl::string_view path : absl::StrSplit(text, ',', absl::SkipEmpty())) mask->add_paths(std::string(path));
  return absl::OkStatus();
}

std::string FormatTextForm(const google::protobuf::Message& message) {
  if (message.GetDescriptor() == FieldMask::descriptor()) {
    return absl::StrJoin(static_cast<const FieldMask&>(message).paths(), ",");
  }
  const auto& timestamp = static_cast<const Timestamp&>(message);
  const absl::Time time = absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E*SZ", time, absl::UTCTimeZone());
}

}  // namespace gradwatch::client
