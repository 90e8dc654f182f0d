#include "server/history/column_codec.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>
#include <span>

#include "core/base/error.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

// How a column begins: the order of the differences in the lower two bits, and these.
constexpr uint8_t kOrderMask = 3;
constexpr uint8_t kConstant = 4;    // one number follows
constexpr uint8_t kPlain = 8;       // the planes are not compressed
constexpr uint8_t kMore = 16;       // another piece of the same column follows
constexpr int kHighestOrder = 2;    // 0: as they are; 1: from the one before; 2: from the line through two
constexpr size_t kSample = 512;     // numbers by which the order is chosen
constexpr int kBitParts = 1 << 15;  // of an estimate; those of a sample fit 32 bits
constexpr size_t kNotWorthIt = 24;  // bytes below which zstd makes nothing smaller

constexpr uint64_t Mask(ColumnKind kind) { return kind == ColumnKind::kFloat ? 0xffffffffu : ~uint64_t{0}; }

// Numbers in the order of their values, so that near ones have small differences.
uint64_t ToOrdered(uint64_t bits, ColumnKind kind) {
  if (kind == ColumnKind::kInteger) return bits;
  const uint64_t sign = kind == ColumnKind::kFloat ? uint64_t{1} << 31 : uint64_t{1} << 63;
  return (bits & sign) != 0 ? ~bits & Mask(kind) : bits | sign;
}

uint64_t FromOrdered(uint64_t ordered, ColumnKind kind) {
  if (kind == ColumnKind::kInteger) return ordered;
  const uint64_t sign = kind == ColumnKind::kFloat ? uint64_t{1} << 31 : uint64_t{1} << 63;
  return (ordered & sign) != 0 ? ordered & ~sign : ~ordered & Mask(kind);
}

// Small numbers of either sign as small ones. `difference` is of the kind's width, and so is what comes back.
uint64_t ZigZag(uint64_t difference, ColumnKind kind) {
  if (kind == ColumnKind::kFloat) {
    const auto narrow = static_cast<uint32_t>(difference);
    return static_cast<uint32_t>(narrow << 1) ^ (0u - (narrow >> 31));
  }
  return difference << 1 ^ (0 - (difference >> 63));
}

uint64_t UnZigZag(uint64_t value) { return value >> 1 ^ (0 - (value & 1)); }

uint64_t Guess(int order, uint64_t last, uint64_t before) {
  if (order == 0) return 0;
  return order == 1 ? last : 2 * last - before;
}

// `ordered` as differences; with order 0 as they are.
void Differ(const uint64_t* ordered, size_t count, int order, ColumnKind kind, uint64_t* to) {
  if (order == 0) {
    std::copy_n(ordered, count, to);
    return;
  }
  uint64_t last = 0, before = 0;
  for (size_t i = 0; i < count; ++i) {
    // The second number has no line yet.
    const uint64_t guess = Guess(i < 2 ? 1 : order, last, before);
    to[i] = ZigZag((ordered[i] - guess) & Mask(kind), kind);
    before = last;
    last = ordered[i];
  }
}

void Sum(int order, ColumnKind kind, std::span<uint64_t> values) {
  uint64_t last = 0, before = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    uint64_t& value = values[i];
    if (order > 0) value = (UnZigZag(value) + Guess(i < 2 ? 1 : order, last, before)) & Mask(kind);
    before = last;
    last = value;
    value = FromOrdered(value, kind);
  }
}

int BytesOf(uint64_t largest) { return (std::bit_width(largest) + 7) / 8; }

// n log2(n) of each count of a sample, in parts of a bit.
const std::array<uint32_t, kSample + 1>& CountBits() {
  static const auto table = [] {
    std::array<uint32_t, kSample + 1> bits{};
    for (size_t n = 2; n < bits.size(); ++n) {
      const auto count = static_cast<double>(n);
      bits[n] = static_cast<uint32_t>(std::lround(kBitParts * count * std::log2(count)));
    }
    return bits;
  }();
  return table;
}

// About how many bits the numbers of a sample need when the bytes of one weight are coded together, in parts of a bit.
// A table in integers: up to 256 logarithms a byte of each order took longer than counting.
uint64_t EstimateBits(const uint64_t* values, size_t count) {
  const std::array<uint32_t, kSample + 1>& count_bits = CountBits();
  uint64_t all = 0;
  for (size_t i = 0; i < count; ++i) all |= values[i];
  uint64_t bits = 0;
  for (int plane = 0; plane < BytesOf(all); ++plane) {
    std::array<uint32_t, 256> counts{};
    for (size_t i = 0; i < count; ++i) ++counts[values[i] >> 8 * plane & 0xff];
    uint32_t known = 0;
    for (const uint32_t n : counts) known += count_bits[n];
    bits += count_bits[count] - known;
  }
  return bits;
}

int ChooseOrder(const std::vector<uint64_t>& ordered, ColumnKind kind) {
  const size_t count = std::min(ordered.size(), kSample);
  const uint64_t* const sample = ordered.data() + (ordered.size() - count) / 2;
  std::array<uint64_t, kSample> differences{};
  int best = 0;
  uint64_t least = 0;
  for (int order = 0; order <= kHighestOrder; ++order) {
    Differ(sample, count, order, kind, differences.data());
    // The first ones have nothing before them, in the sample alone.
    const size_t skip = std::min<size_t>(2, count - 1);
    const uint64_t bits = EstimateBits(differences.data() + skip, count - skip);
    if (order > 0 && bits >= least) continue;
    best = order;
    least = bits;
  }
  return best;
}

std::string Planes(const std::vector<uint64_t>& values, int width) {
  std::string planes(values.size() * static_cast<size_t>(width), '\0');
  char* to = planes.data();
  for (int plane = 0; plane < width; ++plane) {
    for (const uint64_t value : values) *to++ = static_cast<char>(value >> 8 * plane);
  }
  return planes;
}

// One context a thread: making one costs more than a small column.
size_t Compress(const std::string& from, int level, std::string* to) {
  thread_local const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  to->resize(ZSTD_compressBound(from.size()));
  const size_t size = ZSTD_compressCCtx(context.get(), to->data(), to->size(), from.data(), from.size(), level);
  to->resize(ZSTD_isError(size) != 0 ? 0 : size);
  return to->size();
}

bool Decompress(absl::string_view from, std::string* to) {
  thread_local const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  return ZSTD_decompressDCtx(context.get(), to->data(), to->size(), from.data(), from.size()) == to->size();
}

// A column as it stands in the bytes.
struct Frame {
  uint8_t head = 0;
  uint64_t constant = 0;  // if head says so; else
  int width = 0;          // planes
  absl::string_view content;
};

absl::StatusOr<Frame> TakeFrame(absl::string_view* bytes) {
  if (bytes->empty()) return BatchIsDamaged();
  Frame frame;
  frame.head = static_cast<uint8_t>(bytes->front());
  bytes->remove_prefix(1);
  if ((frame.head & kConstant) != 0)
    return TakeVarint(bytes, &frame.constant) ? absl::StatusOr<Frame>(frame) : BatchIsDamaged();
  uint64_t width = 0, size = 0;
  if (!TakeVarint(bytes, &width) || !TakeVarint(bytes, &size)) return BatchIsDamaged();
  if (width > 8 || size > bytes->size() || (frame.head & kOrderMask) > kHighestOrder) return BatchIsDamaged();
  frame.width = static_cast<int>(width);
  frame.content = bytes->substr(0, size);
  bytes->remove_prefix(size);
  return frame;
}

// Appends one piece; `more`: kMore or 0.
void AppendPiece(std::span<const uint64_t> values, ColumnKind kind, int level, uint8_t more, std::string* to) {
  if (std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end()) {
    to->push_back(static_cast<char>(kConstant | more));
    AppendVarint(values.empty() ? 0 : values.front(), to);
    return;
  }
  std::vector<uint64_t> ordered(values.begin(), values.end());
  for (uint64_t& value : ordered) value = ToOrdered(value, kind);
  const int order = ChooseOrder(ordered, kind);
  std::vector<uint64_t> differences(ordered.size());
  Differ(ordered.data(), ordered.size(), order, kind, differences.data());
  uint64_t all = 0;
  for (const uint64_t difference : differences) all |= difference;
  const int width = BytesOf(all);
  const std::string planes = Planes(differences, width);
  std::string compressed;
  const bool plain =
      planes.size() < kNotWorthIt || Compress(planes, level, &compressed) == 0 || compressed.size() >= planes.size();
  const std::string& content = plain ? planes : compressed;
  to->push_back(static_cast<char>(order | (plain ? kPlain : 0) | more));
  AppendVarint(static_cast<uint64_t>(width), to);
  AppendVarint(content.size(), to);
  to->append(content);
}

// Fills `values` from one piece of as many numbers.
absl::Status ReadPiece(const Frame& frame, ColumnKind kind, std::span<uint64_t> values) {
  if ((frame.head & kConstant) != 0) {
    std::fill(values.begin(), values.end(), frame.constant & Mask(kind));
    return absl::OkStatus();
  }
  const size_t size = values.size() * static_cast<size_t>(frame.width);
  std::string planes;
  absl::string_view plain = frame.content;
  if ((frame.head & kPlain) == 0) {
    planes.resize(size);
    if (!Decompress(frame.content, &planes)) return BatchIsDamaged();
    plain = planes;
  }
  if (plain.size() != size) return BatchIsDamaged();
  std::fill(values.begin(), values.end(), 0);
  const char* from = plain.data();
  for (int plane = 0; plane < frame.width; ++plane) {
    for (uint64_t& value : values) value |= uint64_t{static_cast<uint8_t>(*from++)} << 8 * plane;
  }
  Sum(frame.head & kOrderMask, kind, values);
  return absl::OkStatus();
}

// A piece by its place in a column of `count` numbers; an empty column has one, too.
struct Piece {
  size_t first, size;
  bool is_last;
};

Piece PieceAt(size_t first, size_t count) {
  const size_t size = std::min(kColumnPiece, count - first);
  return {first, size, first + size == count};
}

// The next piece as it stands; DATA_LOSS also if the column is longer or shorter than it should be.
absl::StatusOr<Frame> TakeFrameOf(const Piece& piece, absl::string_view* bytes) {
  GW_ASSIGN_OR_RETURN(const Frame frame, TakeFrame(bytes));
  if (((frame.head & kMore) == 0) != piece.is_last) return BatchIsDamaged();
  return frame;
}

}  // namespace

absl::Status BatchIsDamaged() {
  return core::WithReason(absl::DataLossError("a stored batch cannot be read"), "LOG_CORRUPT");
}

void AppendVarint(uint64_t value, std::string* to) {
  for (; value >= 0x80; value >>= 7) to->push_back(static_cast<char>(value | 0x80));
  to->push_back(static_cast<char>(value));
}

bool TakeVarint(absl::string_view* bytes, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && !bytes->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes->front());
    bytes->remove_prefix(1);
    *value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

void AppendColumn(const std::vector<uint64_t>& values, ColumnKind kind, int level, std::string* to) {
  size_t first = 0;
  do {
    const Piece piece = PieceAt(first, values.size());
    AppendPiece(std::span(values).subspan(first, piece.size), kind, level, piece.is_last ? 0 : kMore, to);
    first += piece.size;
  } while (first < values.size());
}

absl::StatusOr<std::vector<uint64_t>> TakeColumn(ColumnKind kind, size_t count, absl::string_view* bytes) {
  std::vector<uint64_t> values(count);
  size_t first = 0;
  do {
    const Piece piece = PieceAt(first, count);
    GW_ASSIGN_OR_RETURN(const Frame frame, TakeFrameOf(piece, bytes));
    GW_RETURN_IF_ERROR(ReadPiece(frame, kind, std::span(values).subspan(first, piece.size)));
    first += piece.size;
  } while (first < count);
  return values;
}

absl::StatusOr<std::vector<uint64_t>> TakeChosen(ColumnKind kind, size_t count, const std::vector<uint32_t>& places,
                                                 absl::string_view* bytes) {
  std::vector<uint64_t> chosen;
  chosen.reserve(places.size());
  std::array<uint64_t, kColumnPiece> values;
  auto next = places.begin();
  size_t first = 0;
  do {
    const Piece piece = PieceAt(first, count);
    GW_ASSIGN_OR_RETURN(const Frame frame, TakeFrameOf(piece, bytes));
    first += piece.size;
    if (next == places.end() || *next >= first) continue;
    GW_RETURN_IF_ERROR(ReadPiece(frame, kind, std::span(values).first(piece.size)));
    for (; next != places.end() && *next < first; ++next) chosen.push_back(values[*next - piece.first]);
  } while (first < count);
  return chosen;
}

absl::Status SkipColumn(absl::string_view* bytes) {
  uint8_t head = 0;
  do {
    GW_ASSIGN_OR_RETURN(const Frame frame, TakeFrame(bytes));
    head = frame.head;
  } while ((head & kMore) != 0);
  return absl::OkStatus();
}

}  // namespace gradwatch::server
