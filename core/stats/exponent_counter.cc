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
  const int64_t most = size <= kWholeUpTo ? 1 : std::min(size / (kWholeUpTo / 2), kMaxStride);
  stride_ = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(most)));
  shift_ = std::countr_zero(static_cast<uint64_t>(stride_));
  offset_ = DigitSum(step, stride_);
  turn_ = (stride_ * 5 / 8) | 1;
}

void ExponentCounter::CountAll(const float* elements, int64_t count) {
  const auto one = [&](int table, int64_t i) {
    ++counts_[table][std::bit_cast<uint32_t>(elements[i]) >> kExponentShift];
  };
  const int64_t whole = count / kTables * kTables;
  for (int64_t i = 0; i < whole; i += kTables) {
#pragma GCC unroll 4
    for (int table = 0; table < kTables; ++table) one(table, i + table);
  }
  for (int64_t i = whole; i < count; ++i) one(0, i);
}

void ExponentCounter::Count(const float* tensor, int64_t first, int64_t end, const ExponentSample& sample) {
  if (sample.stride() == 1) return CountAll(tensor + first, end - first);
  ExponentSample::Walk walk(sample, first);
  const int64_t stride = sample.stride(), whole = end & -stride;
  const float* piece = tensor + first;
  const auto count = [&](int table) {
    ++counts_[table][std::bit_cast<uint32_t>(piece[walk.Next()]) >> kExponentShift];
    piece += stride;
  };
  int64_t left = (whole - first) / stride;
  for (; left >= kTables; left -= kTables) {
#pragma GCC unroll 4
    for (int table = 0; table < kTables; ++table) count(table);
  }
  for (; left > 0; --left) count(0);
  if (piece + walk.place() < tensor + end) count(0);
}

void ExponentCounter::MoveTo(HistogramCounts* histogram, uint32_t min_bits, uint32_t max_bits) {
  Move(0, min_bits, max_bits, histogram->positive.data());
  Move(kSign, min_bits, max_bits, histogram->negative.data());
}

void ExponentCounter::Move(int sign, uint32_t min_bits, uint32_t max_bits, uint32_t* __restrict to) {
  static_assert(kTables == 4);
  uint32_t* __restrict a = counts_[0] + sign;
  uint32_t* __restrict b = counts_[1] + sign;
  uint32_t* __restrict c = counts_[2] + sign;
  uint32_t* __restrict d = counts_[3] + sign;
  constexpr int kNonFinite = kSign - 1;
  for (const int dropped : {0, kNonFinite}) a[dropped] = b[dropped] = c[dropped] = d[dropped] = 0;
  constexpr int kTogether = 16;
  int i = static_cast<int>(min_bits >> kExponentShift) & -kTogether;
  const int end = static_cast<int>(max_bits >> kExponentShift) + 1;
  const auto move = [=](int i) {
    to[i] = a[i] + b[i] + c[i] + d[i];
    a[i] = b[i] = c[i] = d[i] = 0;
  };
  for (; i < end && i + kTogether <= kNonFinite; i += kTogether) {
    for (int j = i; j < i + kTogether; ++j) move(j);
  }
  for (; i < end; ++i) move(i);
}

}  // namespace gradwatch::core
