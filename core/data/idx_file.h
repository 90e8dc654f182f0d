// The IDX format of the MNIST files: a typed array of any rank, big-endian, plain or gzipped.
#ifndef GRADWATCH_CORE_DATA_IDX_FILE_H_
#define GRADWATCH_CORE_DATA_IDX_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gradwatch::core {

// The values are the format's own.
enum class IdxType : uint8_t {
  kUnsignedByte = 0x08,
  kSignedByte = 0x09,
  kShort = 0x0B,
  kInt = 0x0C,
  kFloat = 0x0D,
  kDouble = 0x0E,
};

// An array as it lies in the file; elements are converted when they are read, since bytes take a quarter of floats.
class IdxFile {
 public:
  // Takes the content of a file. Format: two zero bytes, type, rank, one 32-bit size a dimension, elements.
  // INVALID_ARGUMENT: not IDX, rank not 1 to 4, no examples, an element count that is not the header's (cut short or
  // too long), or more than `max_bytes` after decompression.
  static absl::StatusOr<IdxFile> Parse(std::string content, int64_t max_bytes);

  IdxType type() const { return type_; }
  // Outermost first; dimensions()[0] is the number of examples. All at least 1.
  const std::vector<int64_t>& dimensions() const { return dimensions_; }
  // Elements of one example.
  int64_t example_size() const { return example_size_; }
  // Bytes held.
  int64_t bytes() const { return static_cast<int64_t>(content_.size()); }

  // Converts example `index` into `out`, which has example_size() places.
  void Read(int64_t index, std::span<float> out) const;

  // Drops all examples but `count` from `first` on.
  void Keep(int64_t first, int64_t count);

 private:
  IdxType type_ = IdxType::kUnsignedByte;
  std::vector<int64_t> dimensions_;
  int64_t example_size_ = 0;
  std::string content_;  // the elements only
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_IDX_FILE_H_
