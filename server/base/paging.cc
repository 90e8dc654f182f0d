#include "server/base/paging.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/error.h"
#include "server/base/unique_text.h"

namespace gradwatch::server {
namespace {

constexpr int kLargestPage = 1000;
constexpr size_t kFieldOverhead = 8;  // tag and length

// Binds a position to its list.
std::string Seal(int64_t position, absl::string_view filter) {
  return Sha256Hex(absl::StrCat(position, "\n", filter)).substr(0, 12);
}

}  // namespace

bool PageRoom::Take(const google::protobuf::MessageLite& entry) {
  const size_t size = entry.ByteSizeLong() + kFieldOverhead;
  if (bytes_ > 0 && (entries_ == 0 || bytes_ + size > kPageBytes)) return false;
  --entries_;
  bytes_ += size;
  return true;
}

absl::StatusOr<int> PageSize(int32_t wanted, int standard) {
  if (wanted < 0) return core::InvalidField("page_size", absl::StrCat(wanted, " is negative"));
  return wanted == 0 ? standard : std::min(wanted, kLargestPage);
}

std::string MakePageToken(int64_t position, absl::string_view filter) {
  return absl::WebSafeBase64Escape(absl::StrCat(position, "/", Seal(position, filter)));
}

absl::StatusOr<int64_t> ReadPageToken(absl::string_view token, absl::string_view filter, int64_t first) {
  if (token.empty()) return first;
  std::string text;
  int64_t position = 0;
  if (absl::WebSafeBase64Unescape(token, &text)) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
    if (absl::SimpleAtoi(parts.first, &position) && parts.second == Seal(position, filter)) return position;
  }
  return core::WithReason(absl::InvalidArgumentError("page_token: it does not come from an earlier page of this list"),
                          "BAD_PAGE_TOKEN");
}

}  // namespace gradwatch::server
