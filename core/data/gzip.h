// Bounded decompression of gzip files.
#ifndef GRADWATCH_CORE_DATA_GZIP_H_
#define GRADWATCH_CORE_DATA_GZIP_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::core {

// Whether `content` starts as a gzip file does; names are not asked.
bool IsGzip(absl::string_view content);

// What a gzip file of one or more members holds. INVALID_ARGUMENT: cut short, damaged (checksums are compared), or
// more than `max_bytes`; no more than that is ever held.
absl::StatusOr<std::string> Gunzip(absl::string_view content, int64_t max_bytes);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_GZIP_H_
