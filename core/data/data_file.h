// A regular file as a source of bytes: its size is known before it is read, and must stay what it was.
#ifndef GRADWATCH_CORE_DATA_DATA_FILE_H_
#define GRADWATCH_CORE_DATA_DATA_FILE_H_

#include <time.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/base/file_descriptor.h"
#include "core/data/byte_source.h"

namespace gradwatch::core {

class DataFile final : public ByteSource {
 public:
  // Takes an open file. INVALID_ARGUMENT: not a regular file (a folder, a pipe, a device), or larger than `max_bytes`.
  static absl::StatusOr<std::unique_ptr<DataFile>> Create(FileDescriptor descriptor, int64_t max_bytes);

  // Bytes.
  int64_t size() const { return size_; }
  // INVALID_ARGUMENT also: the file grew, was cut short or was written to since it was opened.
  absl::StatusOr<int64_t> Read(char* out, int64_t size) override;
  absl::Status Rewind() override;

 private:
  DataFile(FileDescriptor descriptor, int64_t size, timespec modified)
      : descriptor_(std::move(descriptor)), size_(size), modified_(modified) {}
  // At the end, or beyond where it was.
  absl::Status CheckEnd() const;

  const FileDescriptor descriptor_;
  const int64_t size_;
  const timespec modified_;
  int64_t position_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_DATA_FILE_H_
