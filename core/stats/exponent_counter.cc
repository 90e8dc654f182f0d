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

void ExponentCounter::Count(const float* tensor, int64_t first, int64_t end) {
  if (sample_.stride() == 1) {
#pragma GCC unroll 4
    for (int64_t i = first; i < end; ++i) CountOne(tensor[i]);
    return;
  }
  ExponentSample::Walk walk(sample_, first);
  const int64_t group = ExponentSample::kGroup * sample_.stride();
  for (; first + group <= end; first += group) CountGroup(tensor + first, &walk);
  for (int member = 0; member < ExponentSample::kGroup; ++member) {
    if (const int64_t index = first + static_cast<int64_t>(walk.IndexOf(member)); index < end) CountOne(tensor[index]);
  }
}

void ExponentCounter::Finish() {
  for (const int sign : {0, HistogramCounts::kNegative}) counts_[sign] = counts_[sign + HistogramCounts::kBuckets] = 0;
}

}  // namespace gradwatch::core
