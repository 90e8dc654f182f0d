#include "server/base/grpc_status.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/utf8.h"
#include "google/rpc/error.pb.h"

namespace gradwatch::server {
namespace {

constexpr absl::string_view kTypePrefix = "type.googleapis.com/";
constexpr size_t kMaxMessage = 1024;
constexpr size_t kMaxDetails = 4096;

// The first characters of `text` that fit, with '?' for each byte that belongs to none.
std::string CleanMessage(absl::string_view text) {
  std::string clean;
  while (!text.empty()) {
    absl::string_view rest = text;
    const bool valid = core::TakeCodePoint(&rest) != core::kInvalidUtf8;
    if (!valid) rest.remove_prefix(1);
    const absl::string_view character = valid ? text.substr(0, text.size() - rest.size()) : "?";
    if (clean.size() + character.size() > kMaxMessage) break;
    absl::StrAppend(&clean, character);
    text = rest;
  }
  return clean;
}

bool AddIfItFits(const std::string& url, const std::string& bytes, google::rpc::Status* status) {
  auto* detail = status->add_details();
  detail->set_type_url(url);
  detail->set_value(bytes);
  if (status->ByteSizeLong() <= kMaxDetails) return true;
  status->mutable_details()->RemoveLast();
  return false;
}

// As many of the wrong fields as fit.
void AddBadRequest(const std::string& bytes, google::rpc::Status* status) {
  const std::string url(core::kBadRequestUrl);
  google::rpc::BadRequest request;
  if (AddIfItFits(url, bytes, status) || !request.ParseFromString(bytes)) return;
  while (request.field_violations_size() > 1) {
    request.mutable_field_violations()->RemoveLast();
    if (AddIfItFits(url, request.SerializeAsString(), status)) return;
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(status.raw_code());
  details.set_message(CleanMessage(status.message()));

  std::vector<std::pair<std::string, std::string>> payloads;
  status.ForEachPayload([&payloads](absl::string_view url, const absl::Cord& payload) {
    if (absl::StartsWith(url, kTypePrefix)) payloads.emplace_back(url, payload);
  });
  const auto rank = [](const std::string& url) { return url == core::kErrorInfoUrl ? 0 : 1; };
  std::sort(payloads.begin(), payloads.end(), [&rank](const auto& left, const auto& right) {
    return std::make_pair(rank(left.first), left.first) < std::make_pair(rank(right.first), right.first);
  });
  for (const auto& [url, bytes] : payloads) {
    if (url == core::kBadRequestUrl) {
      AddBadRequest(bytes, &details);
    } else {
      AddIfItFits(url, bytes, &details);
    }
  }
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()), details.message(), details.SerializeAsString());
}

}  // namespace gradwatch::server
