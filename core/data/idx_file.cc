#include "core/data/idx_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/byte_units.h"
#include "core/base/status_macros.h"
#include "core/data/gzip.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxRank = 4;
constexpr int64_t kStart = 4;  // bytes before the dimensions

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

// See LooksLittleEndian.
template <typename Value, typename Bits>
bool AreReversed(absl::string_view elements) {
  constexpr int64_t kFewest = 8;
  const auto is_within = [](Value value, double low, double high) {
    return std::abs(value) >= low && std::abs(value) <= high;  // not of a NaN
  };
  int64_t count = 0, odd = 0;
  for (; !elements.empty(); elements.remove_prefix(sizeof(Bits))) {
    const Bits bits = ReadBigEndian<Bits>(elements.data());
    if (bits == 0) continue;
    std::array<char, sizeof(Bits)> reversed;
    std::reverse_copy(elements.begin(), elements.begin() + sizeof(Bits), reversed.begin());
    if (!is_within(std::bit_cast<Value>(ReadBigEndian<Bits>(reversed.data())), 1e-6, 1e6)) return false;
    ++count;
    odd += is_within(std::bit_cast<Value>(bits), 1e-12, 1e12) ? 0 : 1;
  }
  return count >= kFewest && 2 * odd > count;
}

absl::Status WrongSize(int64_t expected, int64_t found) {
  const absl::string_view what = found < expected ? "cut short" : "too long";
  return absl::InvalidArgumentError(absl::StrCat(what, ": expected ", expected, " bytes, found ", found));
}

int64_t HeaderBytes(const IdxHeader& header) { return kStart + 4 * static_cast<int64_t>(header.dimensions.size()); }

int64_t ContentBytes(const IdxHeader& header) { return header.examples() * header.example_bytes(); }

absl::Status ReadExactly(ByteSource& file, int64_t before, std::span<char> out) {
  const auto size = static_cast<int64_t>(out.size());
  GW_ASSIGN_OR_RETURN(const int64_t count, ReadFully(file, out.data(), size));
  return count == size ? absl::OkStatus() : WrongSize(before + size, before + count);
}

// The product of the sizes cannot overflow: it stops at `max_bytes`.
absl::StatusOr<IdxHeader> ReadHeader(ByteSource& file, int64_t max_bytes) {
  char start[kStart], sizes[4 * kMaxRank];
  GW_RETURN_IF_ERROR(ReadExactly(file, 0, start));
  IdxHeader header;
  header.type = static_cast<IdxType>(start[2]);
  const int64_t element = IdxElementBytes(header.type), rank = static_cast<uint8_t>(start[3]);
  if (start[0] != 0 || start[1] != 0 || element == 0) {
    return absl::InvalidArgumentError("not an IDX file: it does not start with 0, 0 and a type from 0x08 to 0x0E");
  }
  if (rank < 1 || rank > kMaxRank) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, "; must be from 1 to ", kMaxRank));
  }
  GW_RETURN_IF_ERROR(ReadExactly(file, kStart, {sizes, static_cast<size_t>(4 * rank)}));
  int64_t bytes = element;
  for (int64_t i = 0; i < rank; ++i) {
    header.dimensions.push_back(ReadBigEndian<uint32_t>(sizes + 4 * i));
    if (header.dimensions[i] == 0) return absl::InvalidArgumentError(absl::StrCat("dimension ", i, " is 0"));
    if (__builtin_mul_overflow(bytes, header.dimensions[i], &bytes) || bytes > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("its header tells of more than the limit of ", max_bytes, " bytes", InUnits(max_bytes)));
    }
  }
  header.example_size = bytes / element / header.dimensions[0];
  return header;
}

}  // namespace

int64_t IdxElementBytes(IdxType type) {
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

void ReadIdxElements(IdxType type, const char* bytes, std::span<float> out) {
  switch (type) {
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

int64_t ReadIdxInteger(IdxType type, const char* bytes) {
  switch (type) {
    case IdxType::kUnsignedByte:
      return ReadBigEndian<uint8_t>(bytes);
    case IdxType::kSignedByte:
      return static_cast<int8_t>(ReadBigEndian<uint8_t>(bytes));
    case IdxType::kShort:
      return static_cast<int16_t>(ReadBigEndian<uint16_t>(bytes));
    case IdxType::kInt:
      return static_cast<int32_t>(ReadBigEndian<uint32_t>(bytes));
    case IdxType::kFloat:
    case IdxType::kDouble:
      break;
  }
  return 0;
}

bool LooksLittleEndian(IdxType type, absl::string_view elements) {
  if (type == IdxType::kFloat) return AreReversed<float, uint32_t>(elements);
  if (type == IdxType::kDouble) return AreReversed<double, uint64_t>(elements);
  return false;
}

absl::StatusOr<IdxFile> IdxFile::Open(std::unique_ptr<ByteSource> file, int64_t bytes, int64_t max_bytes) {
  GW_ASSIGN_OR_RETURN(Unpacked unpacked, UnpackIfGzip(std::move(file), max_bytes + kStart + 4 * kMaxRank));
  const bool packed = unpacked.packed;
  GW_ASSIGN_OR_RETURN(IdxHeader header, ReadHeader(*unpacked.source, max_bytes));
  const int64_t expected = HeaderBytes(header) + ContentBytes(header);
  if (!packed && bytes != expected) return WrongSize(expected, bytes);
  if (packed && expected / kMaxInflation > bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("cut short: its header tells of ", expected, " bytes, which ", bytes, " of gzip cannot hold"));
  }
  return IdxFile(std::move(unpacked.source), std::move(header));
}

absl::Status IdxFile::ForEachBlock(absl::FunctionRef<absl::Status(int64_t, absl::string_view)> visit) {
  const int64_t element = IdxElementBytes(header_.type), total = ContentBytes(header_), before = HeaderBytes(header_);
  std::string block(std::min(kReadBlock, total), '\0');  // whole elements: both are multiples of every element
  for (int64_t done = 0; done < total;) {
    const int64_t size = std::min<int64_t>(total - done, static_cast<int64_t>(block.size()));
    GW_ASSIGN_OR_RETURN(const int64_t count, ReadFully(*file_, block.data(), size));
    if (count != size) return WrongSize(before + total, before + done + count);
    GW_RETURN_IF_ERROR(visit(done / element, absl::string_view(block.data(), count)));
    done += count;
  }
  char more;
  GW_ASSIGN_OR_RETURN(const int64_t rest, file_->Read(&more, 1));
  if (rest == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("too long: expected ", before + total, " bytes, found more"));
}

}  // namespace gradwatch::core
