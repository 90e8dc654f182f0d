#include "server/base/paging.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/unique_text.h"

namespace gradwatch::server {
namespace {

constexpr int kLargestPage = 1000;
constexpr size_t kFieldOverhead = 8;  // tag and length

// Binds a place to its list.
std::string Seal(absl::string_view place, absl::string_view filter) {
  return Sha256Hex(absl::StrCat(place, "\n", filter)).substr(0, 12);
}

absl::Status BadToken() {
  return core::WithReason(absl::InvalidArgumentError("page_token: it does not come from an earlier page of this list"),
                          "BAD_PAGE_TOKEN");
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
  return MakePageToken(absl::MakeConstSpan(&position, 1), filter);
}

std::string MakePageToken(absl::Span<const int64_t> place, absl::string_view filter) {
  const std::string text = absl::StrJoin(place, ".");
  return absl::WebSafeBase64Escape(absl::StrCat(text, "/", Seal(text, filter)));
}

absl::StatusOr<int64_t> ReadPageToken(absl::string_view token, absl::string_view filter, int64_t first) {
  if (token.empty()) return first;
  GW_ASSIGN_OR_RETURN(const std::vector<int64_t> place, ReadPagePlace(token, filter, 1));
  return place[0];
}

absl::StatusOr<std::vector<int64_t>> ReadPagePlace(absl::string_view token, absl::string_view filter, size_t numbers) {
  std::string text;
  if (!absl::WebSafeBase64Unescape(token, &text)) return BadToken();
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  if (parts.second != Seal(parts.first, filter)) return BadToken();
  std::vector<int64_t> place;
  for (const absl::string_view number : absl::StrSplit(parts.first, '.')) {
    if (!absl::SimpleAtoi(number, &place.emplace_back())) return BadToken();
  }
  if (place.size() != numbers) return BadToken();
  return place;
}

}  // namespace gradwatch::server
