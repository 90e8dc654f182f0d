// Bytes that are read from start to end in blocks, so that a large file takes no more memory than a block.
#ifndef GRADWATCH_CORE_DATA_BYTE_SOURCE_H_
#define GRADWATCH_CORE_DATA_BYTE_SOURCE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {

// Enough for the disk and small beside everything else.
inline constexpr int64_t kReadBlock = 256 << 10;

// Thread-compatible.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Puts at most `size` (above 0) bytes into `out`; how many, 0 at the end only. INVALID_ARGUMENT: they cannot be read,
  // are damaged, or are more than they may be.
  virtual absl::StatusOr<int64_t> Read(char* out, int64_t size) = 0;
  // Goes back to the start.
  virtual absl::Status Rewind() = 0;
};

// As Read, but fewer than `size` bytes only at the end.
inline absl::StatusOr<int64_t> ReadFully(ByteSource& source, char* out, int64_t size) {
  int64_t done = 0;
  while (done < size) {
    GW_ASSIGN_OR_RETURN(const int64_t count, source.Read(out + done, size - done));
    if (count == 0) break;
    done += count;
  }
  return done;
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_BYTE_SOURCE_H_
