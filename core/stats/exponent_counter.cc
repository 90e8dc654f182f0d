#include "core/stats/exponent_counter.h"

#include <algorithm>
#include <bit>

namespace gradwatch::core {
namespace {

// Sums the digits of `step` to the base 2^shift, modulo that: every number once in 2^shift steps from a multiple of it
// on, and in 2^shift times as many of which only every 2^shift-th one counts, and so on.
int64_t DigitSum(int64_t step, int shift) {
  const int64_t mask = (int64_t{1} << shift) - 1;
  int64_t sum = 0;
  for (; shift > 0 && step > 0; step >>= shift) sum += step & mask;
  return sum & mask;
}

}  // namespace

ExponentSample::ExponentSample(int64_t size, int64_t step) {
  const int64_t most = size <= kWholeUpTo ? 1 : std::min(size / (kWholeUpTo / 2), kMaxStride);
  stride_ = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(most)));
  shift_ = std::countr_zero(static_cast<uint64_t>(stride_));
  offset_ = DigitSum(step, shift_);
  turn_ = (stride_ * 5 / 8) | 1;
}

void ExponentCounter::CountAll(const float* elements, int64_t count) {
  const int64_t whole = count / kTables * kTables;
  for (int64_t i = 0; i < whole; i += kTables) {
#pragma GCC unroll 4
    for (int table = 0; table < kTables; ++table) CountOne(table, elements[i + table]);
  }
  for (int64_t i = whole; i < count; ++i) CountOne(0, elements[i]);
}

void ExponentCounter::Count(const float* tensor, int64_t first, int64_t end, const ExponentSample& sample) {
  if (sample.stride() == 1) return CountAll(tensor + first, end - first);
  ExponentSample::Walk walk(sample, first);
  const int64_t group = ExponentSample::kGroup * sample.stride();
  for (; first + group <= end; first += group) CountGroup(tensor + first, &walk);
  for (int member = 0; member < kTables; ++member) {
    if (const int64_t index = first + static_cast<int64_t>(walk.IndexOf(member)); index < end) {
      CountOne(member, tensor[index]);
    }
  }
}

void ExponentCounter::MoveTo(HistogramCounts* histogram, uint32_t min_bits, uint32_t max_bits) {
  Move(0, min_bits, max_bits, histogram->positive.data());
  Move(kSign, min_bits, max_bits, histogram->negative.data());
}

void ExponentCounter::Move(int sign, uint32_t min_bits, uint32_t max_bits, uint32_t* __restrict to) {
  static_assert(kTables == 4);
  constexpr int kNonFinite = kSign - 1;
  uint32_t(*__restrict counts)[kTables] = counts_ + sign;
  for (const int dropped : {0, kNonFinite}) std::fill_n(counts[dropped], kTables, 0);
  const int end = std::min(static_cast<int>(max_bits >> kExponentShift) + 1, kNonFinite);
  for (int i = std::max(static_cast<int>(min_bits >> kExponentShift), 1); i < end; ++i) {
    to[i] = counts[i][0] + counts[i][1] + counts[i][2] + counts[i][3];
    std::fill_n(counts[i], kTables, 0);
  }
}

}  // namespace gradwatch::core
