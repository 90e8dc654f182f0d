// Bounded decompression of gzip files.
#ifndef GRADWATCH_CORE_DATA_GZIP_H_
#define GRADWATCH_CORE_DATA_GZIP_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/byte_source.h"

namespace gradwatch::core {

// Deflate makes no more of a byte than this.
inline constexpr int64_t kMaxInflation = 1032;

// Whether `content` starts as a gzip file does; names are not asked.
bool IsGzip(absl::string_view content);

// What a gzip file of one or more members holds, of which no more than `max_bytes` are given. Zeros after a member,
// with which tools fill up a block, are passed over. Reading also fails with INVALID_ARGUMENT if it is cut short,
// damaged (checksums are compared), goes on with other bytes, or holds more.
std::unique_ptr<ByteSource> MakeGunzip(std::unique_ptr<ByteSource> packed, int64_t max_bytes);

// What a file holds, whether it is gzipped or not.
struct Unpacked {
  std::unique_ptr<ByteSource> source;
  bool packed = false;
};
// Goes by the first bytes of `file`, which is at its start, as the source is then. `max_bytes` as in MakeGunzip; a
// plain file is not limited. INVALID_ARGUMENT: it cannot be read, or is known to be no data: gzipped twice, or zip,
// zstd, xz or bzip2, gzipped or not.
absl::StatusOr<Unpacked> UnpackIfGzip(std::unique_ptr<ByteSource> file, int64_t max_bytes);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_GZIP_H_
