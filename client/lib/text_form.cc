#include "client/lib/text_form.h"

#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/lib/timestamp.h"

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
  *timestamp = ToTimestamp(time);
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
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E*SZ", FromTimestamp(static_cast<const Timestamp&>(message)),
                          absl::UTCTimeZone());
}

}  // namespace gradwatch::client
