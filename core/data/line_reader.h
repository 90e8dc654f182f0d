// Takes lines off a source of bytes, a block at a time.
#ifndef GRADWATCH_CORE_DATA_LINE_READER_H_
#define GRADWATCH_CORE_DATA_LINE_READER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/byte_source.h"

namespace gradwatch::core {

// Lines end with LF or CR LF; a byte order mark of UTF-8 is skipped, and so is Ctrl-Z alone in the last line, with
// which programs of DOS end their files. Thread-compatible.
class LineReader {
 public:
  // `source` must outlive the reader, and be at its start.
  explicit LineReader(ByteSource* source) : source_(source), block_(kReadBlock, '\0') {}

  // The next line that is not empty, without the space at its end; valid until the next call. False at the end.
  // INVALID_ARGUMENT: it cannot be read, is longer than 4 MiB, holds a CR alone or NUL bytes, or the text is UTF-16 or
  // UTF-32.
  absl::StatusOr<bool> Next(absl::string_view* line);

  // Of the last line, from 1; empty ones count.
  int64_t number() const { return number_; }
  // Bytes up to the end of the last line.
  int64_t position() const { return position_; }

 private:
  // Moves what is left to the front and reads on behind it.
  absl::Status Refill();
  absl::Status SkipMark();
  // The next line with its end; empty at the end.
  absl::StatusOr<absl::string_view> TakeLine();
  // Whether all was taken. What was taken last is not valid from then on.
  absl::StatusOr<bool> IsAtEnd();

  ByteSource* const source_;
  std::string block_;
  size_t begin_ = 0, end_ = 0;  // what is left in the block
  bool at_end_ = false;         // of the source
  bool started_ = false;
  int64_t number_ = 0;
  int64_t position_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_LINE_READER_H_
