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
  const int64_t wanted = std::clamp<int64_t>((size + kWholeUpTo - 1) / kWholeUpTo, 1, kMaxStride);
  stride_ = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(wanted)));
  shift_ = std::countr_zero(static_cast<uint64_t>(stride_));
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
  const int end = static_cast<int>(max_bits >> kExponentShift) + 1;
  const auto move = [this, end](int first_key, uint32_t* __restrict to) {
    uint32_t* __restrict a = counts_[0] + first_key;
    uint32_t* __restrict b = counts_[1] + first_key;
    uint32_t* __restrict c = counts_[2] + first_key;
    uint32_t* __restrict d = counts_[3] + first_key;
    for (int i = 0; i < end; ++i) {
      to[i] = a[i] + b[i] + c[i] + d[i];
      a[i] = b[i] = c[i] = d[i] = 0;
    }
    to[0] = 0;  // zeros and denormal numbers
    constexpr int kNonFinite = kSign - 1;
    a[kNonFinite] = b[kNonFinite] = c[kNonFinite] = d[kNonFinite] = 0;
  };
  move(0, histogram->positive.data());
  move(kSign, histogram->negative.data());
}

}  // namespace gradwatch::core
