#include "core/stats/exponent_counter.h"

#include <algorithm>
#include <bit>

namespace gradwatch::core {
namespace {

constexpr int kExponentShift = 23;

// Sums the digits of `step` to the base `stride`, modulo `stride`: every number once in `stride` steps from a multiple
// of it on, and in `stride` times as many of which only every stride-th one counts, and so on.
int64_t DigitSum(int64_t step, int64_t stride) {
  int64_t sum = 0;
  for (; stride > 1 && step > 0; step /= stride) sum += step % stride;
  return sum & (stride - 1);
}

}  // namespace

ExponentSample::ExponentSample(int64_t size, int64_t step) {
  const int64_t pieces_of = (size + kWholeUpTo - 1) / kWholeUpTo;
  stride_ = std::min(kMaxStride, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(pieces_of))));
  offset_ = DigitSum(step, stride_);
  turn_ = (stride_ * 5 / 8) | 1;
}

void ExponentCounter::Count(const float* tensor, int64_t first, int64_t end, const ExponentSample& sample) {
  const auto count = [&](int table, int64_t piece) {
    ++counts_[table][std::bit_cast<uint32_t>(tensor[sample.IndexIn(piece)]) >> kExponentShift];
  };
  const int64_t whole_pieces = end / sample.stride();
  int64_t piece = first / sample.stride();
  for (; piece + kTables <= whole_pieces; piece += kTables) {
#pragma GCC unroll 4
    for (int table = 0; table < kTables; ++table) count(table, piece + table);
  }
  for (; piece < whole_pieces; ++piece) count(0, piece);
  if (sample.IndexIn(piece) < end) count(0, piece);
}

void ExponentCounter::MoveTo(HistogramCounts* histogram, uint32_t max_bits) {
  static_assert(kTables == 4);
  const int last = static_cast<int>(max_bits >> kExponentShift);
  for (int i = 1; i <= last; ++i) {
    histogram->positive[i] = counts_[0][i] + counts_[1][i] + counts_[2][i] + counts_[3][i];
  }
  for (int i = 1; i <= last; ++i) {
    const int key = kSign + i;
    histogram->negative[i] = counts_[0][key] + counts_[1][key] + counts_[2][key] + counts_[3][key];
  }
  constexpr int kNonFinite = kSign - 1;
  for (auto& table : counts_) {
    std::fill_n(table, last + 1, 0);
    std::fill_n(table + kSign, last + 1, 0);
    table[kNonFinite] = table[kSign + kNonFinite] = 0;
  }
}

}  // namespace gradwatch::core
