#include "core/base/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/utf8.h"
#include "google/rpc/error.pb.h"

namespace gradwatch::core {
namespace {

constexpr absl::string_view kDomain = "gradwatch.v1";
// More would not fit into the trailers of a call.
constexpr size_t kMaxViolations = 20;

template <typename Message>
bool ReadPayload(const absl::Status& status, absl::string_view url, Message* message) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() && message->ParseFromString(std::string(*payload));
}

}  // namespace

void FieldErrors::Add(absl::string_view field, absl::string_view description) {
  // Both may quote what a file or a peer said.
  violations_.push_back({Printable(field), Printable(description)});
}

void FieldErrors::AddStatus(absl::string_view prefix, const absl::Status& status) {
  if (status.ok()) return;
  const auto violations = GetFieldViolations(status);
  if (violations.empty()) Add(prefix, status.message());
  for (const FieldViolation& violation : violations) {
    const absl::string_view dot = prefix.empty() || violation.field.empty() || violation.field[0] == '[' ? "" : ".";
    Add(absl::StrCat(prefix, dot, violation.field), violation.description);
  }
}

absl::Status FieldErrors::ToStatus() const {
  if (violations_.empty()) return absl::OkStatus();
  google::rpc::BadRequest details;
  std::vector<std::string> lines;
  for (const FieldViolation& violation : violations_) {
    if (lines.size() == kMaxViolations) break;
    lines.push_back(absl::StrCat(violation.field, ": ", violation.description));
    auto* detail = details.add_field_violations();
    detail->set_field(violation.field);
    detail->set_description(violation.description);
  }
  if (violations_.size() > kMaxViolations) {
    lines.push_back(absl::StrCat("and ", violations_.size() - kMaxViolations, " more"));
  }
  absl::Status status = absl::InvalidArgumentError(absl::StrJoin(lines, "; "));
  status.SetPayload(kBadRequestUrl, absl::Cord(details.SerializeAsString()));
  return WithReason(std::move(status), "FIELD_VIOLATION");
}

absl::Status InvalidField(absl::string_view field, absl::string_view description) {
  FieldErrors errors;
  errors.Add(field, description);
  return errors.ToStatus();
}

absl::Status OutOfMemory(absl::string_view what) {
  return WithReason(absl::ResourceExhaustedError(absl::StrCat("not enough memory ", what)), "OUT_OF_MEMORY");
}

absl::Status WithFieldPrefix(absl::string_view prefix, const absl::Status& status) {
  if (status.ok()) return status;
  FieldErrors errors;
  errors.AddStatus(prefix, status);
  const absl::Status fields = errors.ToStatus();
  absl::Status prefixed(status.code(), fields.message());
  prefixed.SetPayload(kBadRequestUrl, *fields.GetPayload(kBadRequestUrl));
  prefixed.SetPayload(kErrorInfoUrl, *(GetReason(status).empty() ? fields : status).GetPayload(kErrorInfoUrl));
  return prefixed;
}

std::vector<FieldViolation> GetFieldViolations(const absl::Status& status) {
  google::rpc::BadRequest details;
  std::vector<FieldViolation> violations;
  if (!ReadPayload(status, kBadRequestUrl, &details)) return violations;
  for (const auto& detail : details.field_violations()) violations.push_back({detail.field(), detail.description()});
  return violations;
}

absl::Status WithReason(absl::Status status, absl::string_view reason,
                        std::vector<std::pair<std::string, std::string>> metadata) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kDomain));
  for (auto& [key, value] : metadata) (*info.mutable_metadata())[key] = std::move(value);
  status.SetPayload(kErrorInfoUrl, absl::Cord(info.SerializeAsString()));
  return status;
}

std::string GetReason(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  return ReadPayload(status, kErrorInfoUrl, &info) ? info.reason() : std::string();
}

std::string GetErrorMetadata(const absl::Status& status, absl::string_view key) {
  google::rpc::ErrorInfo info;
  if (!ReadPayload(status, kErrorInfoUrl, &info)) return std::string();
  const auto found = info.metadata().find(std::string(key));
  return found == info.metadata().end() ? std::string() : found->second;
}

}  // namespace gradwatch::core
