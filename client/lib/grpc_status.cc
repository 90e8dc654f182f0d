#include "client/lib/grpc_status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"

namespace gradwatch::client {
namespace {

template <typename Detail>
Detail GetDetail(const absl::Status& status) {
  Detail detail;
  const absl::optional<absl::Cord> payload =
      status.GetPayload(absl::StrCat("type.googleapis.com/", Detail::descriptor()->full_name()));
  if (payload.has_value() && !detail.ParseFromString(std::string(*payload))) detail.Clear();
  return detail;
}

}  // namespace

absl::Status ToAbslStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  // Both use the canonical codes, with the same numbers.
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& detail : details.details()) result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

std::vector<google::rpc::BadRequest::FieldViolation> GetFieldViolations(const absl::Status& status) {
  const auto detail = GetDetail<google::rpc::BadRequest>(status);
  return {detail.field_violations().begin(), detail.field_violations().end()};
}

std::string GetReason(const absl::Status& status) { return GetDetail<google::rpc::ErrorInfo>(status).reason(); }

std::string GetErrorMetadata(const absl::Status& status, absl::string_view key) {
  const auto detail = GetDetail<google::rpc::ErrorInfo>(status);
  const auto found = detail.metadata().find(std::string(key));
  return found == detail.metadata().end() ? "" : found->second;
}

}  // namespace gradwatch::client
