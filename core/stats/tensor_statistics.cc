#include "core/stats/tensor_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "core/stats/block_sums.h"
#include "core/stats/denormal_flag.h"
#include "core/stats/exponent_counter.h"
#include "core/stats/float_vectors.h"
#include "core/stats/vector_sums.h"

namespace gradwatch::core {
namespace {

using block::BlockSums;
using block::kBlockSize;
using block::SumFull;
using block::SumNorm;
using vectors::Ints;
using vectors::kFloats;

constexpr int32_t kMagnitudeMask = 0x7fffffff;
constexpr int32_t kInfinityBits = 0x7f800000;
// Sums of 32 smaller numbers are finite.
constexpr int32_t kLargeBits = 0x7f800000 - (5 << 23);
// The smallest number that is neither 0 nor denormal.
constexpr int32_t kNormalBits = 0x00800000;

// The finite elements of a block one after the other; the rest is counted by kind. For blocks that hold something that
// is not finite, or so large that a sum of some floats might not be.
BlockSums SumFinite(const float* gradient, int64_t count, TensorStatistics* statistics) {
  BlockSums sums;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(gradient[i]);
    const int32_t magnitude = bits & kMagnitudeMask;
    if (magnitude < kInfinityBits) {
      const double value = gradient[i];
      sums.squares += value * value;
      sums.moments.sum += value;
      sums.moments.magnitudes += std::fabs(value);
      sums.max_bits = std::max(sums.max_bits, magnitude);
    } else if (magnitude > kInfinityBits) {
      ++statistics->nan_count;
    } else {
      ++(bits == magnitude ? statistics->pos_inf_count : statistics->neg_inf_count);
    }
  }
  return sums;
}

// Counts zeros and denormal numbers, for blocks that have some.
void CountTiny(const float* gradient, int64_t count, TensorStatistics* statistics) {
  Ints zeros{}, tiny{};
  for (int64_t i = 0; i < count; i += kFloats) {
    const Ints magnitudes = vectors::Load<Ints>(gradient + i) & kMagnitudeMask;
    // A comparison that holds is -1.
    zeros -= magnitudes == 0;
    tiny -= magnitudes < kNormalBits;
  }
  for (int i = 0; i < kFloats; ++i) {
    statistics->zero_count += zeros[i];
    statistics->denormal_count += tiny[i] - zeros[i];
  }
}

// Fills the histogram's bucket of denormal numbers, which the counter leaves out.
void CountDenormal(std::span<const float> gradient, const ExponentSample& sample, HistogramCounts* histogram) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  for (int64_t piece = 0; piece * sample.stride() < size; ++piece) {
    const int64_t index = sample.IndexIn(piece);
    if (index >= size || std::fpclassify(gradient[index]) != FP_SUBNORMAL) continue;
    ++(gradient[index] > 0 ? histogram->positive() : histogram->negative())[0];
  }
}

// Hands `body` one block after the other as (index of its first element, elements, count), where count is a multiple of
// kFloats. What is left over at the end is padded with zeros in a buffer; returns how many those are.
template <typename Body>
int64_t ForEachBlock(std::span<const float> gradient, Body body) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  const int64_t whole = size / kFloats * kFloats;
  int64_t start = 0;
  while (start < size) {
    const float* block = gradient.data() + start;
    int64_t count = std::min(kBlockSize, whole - start);
    float last[kFloats] = {};
    if (count == 0) {
      std::copy(gradient.begin() + whole, gradient.end(), last);
      block = last;
      count = kFloats;
    }
    body(start, block, count);
    start += count;
  }
  return start - size;
}

constexpr auto kNoSample = [](const float*) {};

// Sums a block of ForEachBlock, and counts the exponents of what lies in its kBlockSize elements of the tensor unless
// `counter` is null.
BlockSums SumSampled(std::span<const float> gradient, int64_t start, const float* block, int64_t count,
                     bool expect_zeros, const ExponentSample& sample, ExponentCounter* counter) {
  if (counter == nullptr) {
    return expect_zeros ? SumFull<true>(block, count, kNoSample) : SumFull<false>(block, count, kNoSample);
  }
  int64_t counted = start;
  BlockSums sums;
  if (sample.stride() == 1) {
    sums = SumFull<true>(block, count, kNoSample);
  } else {
    ExponentSample::Walk walk(sample, start);
    const auto count_exponents = [counter, &walk](const float* from) { counter->CountWhole(from, &walk); };
    sums = expect_zeros ? SumFull<true>(block, count, count_exponents) : SumFull<false>(block, count, count_exponents);
    counted += count / ExponentCounter::kWhole * ExponentCounter::kWhole;
  }
  const int64_t end = std::min(static_cast<int64_t>(gradient.size()), start + kBlockSize);
  if (start % kBlockSize == 0) counter->Count(gradient.data(), counted, end);
  return sums;
}

double MagnitudeOf(int32_t bits) { return std::bit_cast<float>(bits); }

// Mean and standard deviation once more, from the distances of finite elements: first from one of them, which gives the
// mean but for some roundings of double (no element is further from it than the deviation times the root of their
// number), then from that. Where all are equal no distance is anything but 0.
void MeasureMomentsAgain(std::span<const float> gradient, TensorStatistics* statistics) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  const double near = FirstFinite(gradient.data(), size);
  statistics->mean = near + SumDistances(gradient.data(), size, near).MeanDistance();
  statistics->mean_abs = std::max(statistics->mean_abs, std::fabs(statistics->mean));
  statistics->std_dev = std::sqrt(SumDistances(gradient.data(), size, statistics->mean).Variance());
}

// Mean, mean magnitude and standard deviation of `finite` elements.
void FillMoments(std::span<const float> gradient, const BlockSums& total, int64_t finite,
                 TensorStatistics* statistics) {
  // The sums of floats are off by d = 3e-7 mean_abs of the mean, so the variance by 2 d |mean| and less. Where it is at
  // least this part of mean_abs |mean|, that is 1e-5 of it, and half as much of its root; less is measured again.
  constexpr double kSmall = 0.0625;
  if (finite == 0) return;
  const double share = 1 / static_cast<double>(finite);
  statistics->mean = total.moments.sum * share;
  statistics->mean_abs = total.moments.magnitudes * share;
  const double variance = total.squares * share - statistics->mean * statistics->mean;
  if (variance < kSmall * statistics->mean_abs * std::fabs(statistics->mean)) {
    MeasureMomentsAgain(gradient, statistics);
  } else {
    statistics->std_dev = std::sqrt(variance);
  }
}

}  // namespace

void MeasureNorm(std::span<const float> gradient, TensorStatistics* statistics) {
  statistics->ClearNumbers();
  double squares = 0;
  int32_t max_bits = 0;
  ForEachBlock(gradient, [&](int64_t, const float* block, int64_t count) {
    BlockSums sums = SumNorm(block, count);
    if (!sums.is_finite()) sums = SumFinite(block, count, statistics);
    squares += sums.squares;
    max_bits = std::max(max_bits, sums.max_bits);
  });
  statistics->max_abs = MagnitudeOf(max_bits);
  statistics->l2_norm = std::sqrt(squares);
}

void MeasureFull(std::span<const float> gradient, FullPass<float>* pass, TensorStatistics* statistics) {
  const bool had_zeros = statistics->zero_count > 0, counts_exponents = pass->counts_exponents;
  if (counts_exponents) {
    std::construct_at(statistics);
  } else {
    statistics->ClearNumbers();
  }
  pass->dot = 0;
  const int64_t size = static_cast<int64_t>(gradient.size());
  const ExponentSample sample(size, pass->step);
  ExponentCounter counter(sample, &statistics->histogram);
  BlockSums total;
  DenormalFlag denormal;
  const int64_t padding = ForEachBlock(gradient, [&](int64_t start, const float* block, int64_t count) {
    BlockSums sums =
        SumSampled(gradient, start, block, count, had_zeros, sample, counts_exponents ? &counter : nullptr);
    if (denormal.IsSeen(&sums.squares) || !sums.is_finite() || !sums.zeros) {
      CountTiny(block, count, statistics);
    } else {
      statistics->zero_count += *sums.zeros;
    }
    if (sums.max_bits >= kLargeBits || !sums.is_finite()) {
      const BlockSums finite = SumFinite(block, count, statistics);
      sums.squares = sums.is_finite() ? sums.squares : finite.squares;  // as MeasureNorm has them
      sums.moments = finite.moments;
      sums.max_bits = finite.max_bits;
    }
    total.squares += sums.squares;
    total.moments.sum += sums.moments.sum;
    total.moments.magnitudes += sums.moments.magnitudes;
    total.max_bits = std::max(total.max_bits, sums.max_bits);
    if (pass->last_gradient != nullptr) {
      pass->dot += DotAndCopy(gradient.data() + start, pass->last_gradient + start, std::min(size - start, count));
    }
  });
  statistics->zero_count -= padding;
  statistics->max_abs = MagnitudeOf(total.max_bits);
  statistics->l2_norm = std::sqrt(total.squares);
  FillMoments(gradient, total, size - statistics->non_finite(), statistics);
  if (counts_exponents) {
    counter.Finish();
    if (statistics->denormal_count > 0) CountDenormal(gradient, sample, &statistics->histogram);
  }
  statistics->histogram_stride = static_cast<int32_t>(sample.stride());
}

void MeasureHistogram(std::span<const float> gradient, int64_t step, TensorStatistics* statistics) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  const ExponentSample sample(size, step);
  statistics->histogram = HistogramCounts();
  ExponentCounter counter(sample, &statistics->histogram);
  counter.Count(gradient.data(), 0, size);
  counter.Finish();
  if (statistics->denormal_count > 0) CountDenormal(gradient, sample, &statistics->histogram);
}

}  // namespace gradwatch::core
