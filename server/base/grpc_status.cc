#include "server/base/grpc_status.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "core/base/error.h"
#include "google/rpc/error.pb.h"

namespace gradwatch::server {
namespace {

constexpr absl::string_view kTypePrefix = "type.googleapis.com/";
constexpr size_t kMaxMessage = 1024;
constexpr size_t kMaxDetails = 4096;

// The length of the UTF-8 character at the start of `text`; 0: it is not one (Unicode 15, table 3-7).
size_t CharacterLength(absl::string_view text) {
  const auto byte = [&text](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto continues = [&byte](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool overlong = lead == 0xe0 && byte(1) < 0xa0;
    const bool surrogate = lead == 0xed && byte(1) > 0x9f;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool overlong = lead == 0xf0 && byte(1) < 0x90;
    const bool too_large = lead == 0xf4 && byte(1) > 0x8f;
    return continues(1) && continues(2) && continues(3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

// The first characters of `text` that fit, with '?' for each byte that belongs to none.
std::string CleanMessage(absl::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (clean.size() + std::max<size_t>(length, 1) > kMaxMessage) break;
    clean += length == 0 ? std::string("?") : std::string(text.substr(0, length));
    text.remove_prefix(std::max<size_t>(length, 1));
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
