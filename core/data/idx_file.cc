#include "core/data/idx_file.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/status_macros.h"
#include "core/data/gzip.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxRank = 4;

int64_t ElementSize(IdxType type) {
  switch (type) {
    case IdxType::kUnsignedByte:
    case IdxType::kSignedByte:
      return 1;
    case IdxType::kShort:
      return 2;
    case IdxType::kInt:
    case IdxType::kFloat:
      return 4;
    case IdxType::kDouble:
      return 8;
  }
  return 0;  // not a type of the format
}

template <typename Bits>
Bits ReadBigEndian(const char* bytes) {
  Bits bits = 0;
  for (size_t i = 0; i < sizeof(Bits); ++i) bits = static_cast<Bits>(bits << 8 | static_cast<uint8_t>(bytes[i]));
  return bits;
}

// Converts elements that are `Value` in the file, stored as `Bits`.
template <typename Value, typename Bits>
void Convert(const char* bytes, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(std::bit_cast<Value>(ReadBigEndian<Bits>(bytes + i * sizeof(Bits))));
  }
}

absl::Status WrongSize(int64_t expected, size_t found) {
  const absl::string_view what = static_cast<int64_t>(found) < expected ? "cut short" : "too long";
  return absl::InvalidArgumentError(absl::StrCat(what, ": expected ", expected, " bytes, found ", found));
}

}  // namespace

absl::StatusOr<IdxFile> IdxFile::Parse(std::string content, int64_t max_bytes) {
  if (IsGzip(content)) {
    GW_ASSIGN_OR_RETURN(content, Gunzip(content, max_bytes));
  }
  if (content.size() < 4) return WrongSize(4, content.size());
  IdxFile file;
  file.type_ = static_cast<IdxType>(content[2]);
  const int64_t element = ElementSize(file.type_), rank = static_cast<uint8_t>(content[3]);
  if (content[0] != 0 || content[1] != 0 || element == 0) {
    return absl::InvalidArgumentError("not an IDX file: it does not start with 0, 0 and a type from 0x08 to 0x0E");
  }
  if (rank < 1 || rank > kMaxRank) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, "; must be from 1 to ", kMaxRank));
  }
  const int64_t header = 4 + 4 * rank;
  if (static_cast<int64_t>(content.size()) < header) return WrongSize(header, content.size());
  int64_t size = element;
  for (int64_t i = 0; i < rank; ++i) {
    file.dimensions_.push_back(ReadBigEndian<uint32_t>(content.data() + 4 + 4 * i));
    if (file.dimensions_[i] == 0) return absl::InvalidArgumentError(absl::StrCat("dimension ", i, " is 0"));
    if (__builtin_mul_overflow(size, file.dimensions_[i], &size) || size > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("its header tells of more than the limit of ", max_bytes, " bytes"));
    }
  }
  if (static_cast<int64_t>(content.size()) != header + size) return WrongSize(header + size, content.size());
  file.example_size_ = size / element / file.dimensions_[0];
  content.erase(0, header);
  file.content_ = std::move(content);
  return file;
}

void IdxFile::Read(int64_t index, std::span<float> out) const {
  const char* const bytes = content_.data() + index * example_size_ * ElementSize(type_);
  switch (type_) {
    case IdxType::kUnsignedByte:
      return Convert<uint8_t, uint8_t>(bytes, out);
    case IdxType::kSignedByte:
      return Convert<int8_t, uint8_t>(bytes, out);
    case IdxType::kShort:
      return Convert<int16_t, uint16_t>(bytes, out);
    case IdxType::kInt:
      return Convert<int32_t, uint32_t>(bytes, out);
    case IdxType::kFloat:
      return Convert<float, uint32_t>(bytes, out);
    case IdxType::kDouble:
      return Convert<double, uint64_t>(bytes, out);
  }
}

void IdxFile::Keep(int64_t first, int64_t count) {
  const int64_t bytes = example_size_ * ElementSize(type_);
  content_.erase((first + count) * bytes);
  content_.erase(0, first * bytes);
  content_.shrink_to_fit();
  dimensions_[0] = count;
}

}  // namespace gradwatch::core
