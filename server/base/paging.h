// Pages of lists: sizes, the room on them, and tokens that hold only for the list that they came from.
#ifndef GRADWATCH_SERVER_BASE_PAGING_H_
#define GRADWATCH_SERVER_BASE_PAGING_H_

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwatch::server {

// A page ends here at the latest, so that every client can take it.
inline constexpr size_t kPageBytes = size_t{1} << 20;

// The room on one page.
class PageRoom {
 public:
  explicit PageRoom(int entries) : entries_(entries) {}
  // Takes the place of one more entry. False: there is none; the first one always has it.
  bool Take(const google::protobuf::MessageLite& entry);

 private:
  int entries_;       // that it has room for yet
  size_t bytes_ = 0;  // that are taken
};

// The size to use: `standard` for 0, at most 1,000. INVALID_ARGUMENT: negative.
absl::StatusOr<int> PageSize(int32_t wanted, int standard);

// A token for the place `position` in the list that `filter` describes.
std::string MakePageToken(int64_t position, absl::string_view filter);
// The same for a place that takes several numbers to tell.
std::string MakePageToken(absl::Span<const int64_t> place, absl::string_view filter);
// The place; `first` for an empty token. INVALID_ARGUMENT (reason BAD_PAGE_TOKEN): not one of ours, or of another list.
absl::StatusOr<int64_t> ReadPageToken(absl::string_view token, absl::string_view filter, int64_t first);
// Reads so many numbers of a token that is not empty. They may be any: whoever has a token can make another.
absl::StatusOr<std::vector<int64_t>> ReadPagePlace(absl::string_view token, absl::string_view filter, size_t numbers);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_PAGING_H_
