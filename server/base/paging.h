// Pages of lists: sizes, and tokens that hold only for the list that they came from.
#ifndef GRADWATCH_SERVER_BASE_PAGING_H_
#define GRADWATCH_SERVER_BASE_PAGING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {

// The size to use: `standard` for 0, at most 1,000. INVALID_ARGUMENT: negative.
absl::StatusOr<int> PageSize(int32_t wanted, int standard);

// A token for the place `position` in the list that `filter` describes.
std::string MakePageToken(int64_t position, absl::string_view filter);
// The place; `first` for an empty token. INVALID_ARGUMENT (reason BAD_PAGE_TOKEN): not one of ours, or of another list.
absl::StatusOr<int64_t> ReadPageToken(absl::string_view token, absl::string_view filter, int64_t first);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_PAGING_H_
