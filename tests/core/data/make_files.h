// Makes small data files.
#ifndef GRADWATCH_TESTS_CORE_DATA_MAKE_FILES_H_
#define GRADWATCH_TESTS_CORE_DATA_MAKE_FILES_H_

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/status_macros.h"
#include "core/data/byte_source.h"

namespace gradwatch::core {

// A text as a file.
class StringSource final : public ByteSource {
 public:
  // Gives at most `block` bytes at a time.
  explicit StringSource(std::string text, int64_t block = kReadBlock) : text_(std::move(text)), block_(block) {}
  absl::StatusOr<int64_t> Read(char* out, int64_t size) override {
    const int64_t count = std::min({size, block_, static_cast<int64_t>(text_.size()) - position_});
    std::copy_n(text_.data() + position_, count, out);
    position_ += count;
    return count;
  }
  absl::Status Rewind() override {
    position_ = 0;
    return absl::OkStatus();
  }

 private:
  const std::string text_;
  const int64_t block_;
  int64_t position_ = 0;
};

// A file that is written to while it is read: it holds the next of its versions each time that it is read again, the
// last one from then on.
class ChangingSource final : public ByteSource {
 public:
  explicit ChangingSource(std::vector<std::string> versions) : versions_(std::move(versions)) {}
  absl::StatusOr<int64_t> Read(char* out, int64_t size) override {
    const std::string& text = versions_[std::min<size_t>(rewinds_, versions_.size() - 1)];
    const int64_t count = std::min(size, static_cast<int64_t>(text.size()) - position_);
    std::copy_n(text.data() + position_, count, out);
    position_ += count;
    if (count == 0) ends_.push_back(rewinds_);
    return count;
  }
  absl::Status Rewind() override {
    position_ = 0;
    ++rewinds_;
    return absl::OkStatus();
  }

  // At which readings, counted from 0, the end was seen.
  const std::vector<int>& ends() const { return ends_; }

 private:
  const std::vector<std::string> versions_;
  int rewinds_ = 0;
  int64_t position_ = 0;
  std::vector<int> ends_;
};

inline absl::StatusOr<std::string> ReadToEnd(ByteSource& source) {
  std::string content;
  for (char block[4096];;) {
    GW_ASSIGN_OR_RETURN(const int64_t count, source.Read(block, sizeof block));
    if (count == 0) return content;
    content.append(block, count);
  }
}

inline std::string MakeGzip(absl::string_view content) {
  z_stream stream = {};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string result(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

// The lowest `bytes` bytes of `value`, highest first.
inline std::string BigEndian(uint64_t value, int bytes) {
  std::string result;
  for (int i = bytes - 1; i >= 0; --i) result.push_back(static_cast<char>(value >> (8 * i)));
  return result;
}

inline std::string MakeIdx(int type, const std::vector<uint32_t>& dimensions, absl::string_view elements) {
  std::string file = {0, 0, static_cast<char>(type), static_cast<char>(dimensions.size())};
  for (const uint32_t dimension : dimensions) file += BigEndian(dimension, 4);
  return file + std::string(elements);
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_TESTS_CORE_DATA_MAKE_FILES_H_
