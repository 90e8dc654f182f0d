#include "core/stats/tensor_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/stats/float_vectors.h"
#include "core/stats/vector_sums.h"

namespace gradwatch::core {
namespace {

using vectors::Doubles;
using vectors::Floats;
using vectors::Ints;
using vectors::kDoubles;
using vectors::kFloats;

// Elements of a block; small enough for the first-level cache.
constexpr int64_t kBlockSize = 4096;
static_assert(kBlockSize % ExponentSample::kMaxStride == 0);
// Vectors of floats that are added before their sum is added in double: a tree of three roundings.
constexpr int kChain = 8;
// Elements that the inner loops take at a time.
constexpr int64_t kStep = int64_t{kChain} * kFloats;

constexpr int32_t kMagnitudeMask = 0x7fffffff;
constexpr int32_t kInfinityBits = 0x7f800000;
// Sums of kChain smaller numbers are finite.
constexpr int32_t kLargeBits = 0x7f800000 - (4 << 23);
// The smallest number that is neither 0 nor denormal.
constexpr int32_t kNormalBits = 0x00800000;

// What a block of floats adds up to.
struct BlockSums {
  double squares = 0;
  MomentSums moments;
  int32_t max_bits = 0;
  int32_t min_bits = 0;
};

// Squares in double, and the largest magnitude. Both levels use it and add in the same order, so that the norm does not
// depend on how much is watched.
struct NormLanes {
  Doubles squares0{}, squares1{}, squares2{}, squares3{};
  Ints max0{}, max1{};

  // Adds two vectors of floats, whose magnitudes are given.
  void Add(const float* elements, const Ints& magnitudes0, const Ints& magnitudes1) {
    const Doubles x0 = vectors::LoadAsDoubles(elements), x1 = vectors::LoadAsDoubles(elements + kDoubles);
    const Doubles x2 = vectors::LoadAsDoubles(elements + 2 * kDoubles);
    const Doubles x3 = vectors::LoadAsDoubles(elements + 3 * kDoubles);
    squares0 += x0 * x0;
    squares1 += x1 * x1;
    squares2 += x2 * x2;
    squares3 += x3 * x3;
    vectors::KeepLarger(magnitudes0, &max0);
    vectors::KeepLarger(magnitudes1, &max1);
  }

  void MoveTo(BlockSums* sums) const {
    sums->squares = vectors::Sum((squares0 + squares1) + (squares2 + squares3));
    Ints max = max0;
    vectors::KeepLarger(max1, &max);
    sums->max_bits = vectors::Largest(max);
  }
};

// `count` is a multiple of kStep in all of these.
BlockSums SumNorm(const float* gradient, int64_t count) {
  NormLanes lanes;
  for (int64_t i = 0; i < count; i += 2 * kFloats) {
    const Floats x0 = vectors::Load<Floats>(gradient + i), x1 = vectors::Load<Floats>(gradient + i + kFloats);
    lanes.Add(gradient + i, vectors::Magnitudes(x0), vectors::Magnitudes(x1));
  }
  BlockSums sums;
  lanes.MoveTo(&sums);
  return sums;
}

BlockSums SumFull(const float* gradient, int64_t count) {
  NormLanes lanes;
  Ints min0 = Ints{} + kMagnitudeMask, min1 = min0;
  Doubles sum{}, magnitudes{};
  for (int64_t i = 0; i < count; i += kStep) {
    Floats part[2], part_magnitudes[2];
#pragma GCC unroll 4
    for (int j = 0; j < kChain / 2; ++j) {
      const float* const at = gradient + i + 2 * j * kFloats;
      const Floats x0 = vectors::Load<Floats>(at), x1 = vectors::Load<Floats>(at + kFloats);
      const Ints a0 = vectors::Magnitudes(x0), a1 = vectors::Magnitudes(x1);
      lanes.Add(at, a0, a1);
      vectors::KeepSmaller(a0, &min0);
      vectors::KeepSmaller(a1, &min1);
      const Floats pair = x0 + x1, pair_magnitudes = reinterpret_cast<Floats>(a0) + reinterpret_cast<Floats>(a1);
      part[j / 2] = j % 2 == 0 ? pair : part[j / 2] + pair;
      part_magnitudes[j / 2] = j % 2 == 0 ? pair_magnitudes : part_magnitudes[j / 2] + pair_magnitudes;
    }
    vectors::AddHalves(part[0] + part[1], &sum);
    vectors::AddHalves(part_magnitudes[0] + part_magnitudes[1], &magnitudes);
  }
  BlockSums sums;
  lanes.MoveTo(&sums);
  vectors::KeepSmaller(min1, &min0);
  sums.min_bits = vectors::Smallest(min0);
  sums.moments = {vectors::Sum(sum), vectors::Sum(magnitudes)};
  return sums;
}

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
    const Ints magnitudes = vectors::Magnitudes(vectors::Load<Floats>(gradient + i));
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
    ++(gradient[index] > 0 ? histogram->positive : histogram->negative)[0];
  }
}

// Hands `body` one block after the other as (index of its first element, elements, count), where count is a multiple of
// kStep. What is left over at the end is padded with zeros in a buffer; returns how many those are.
template <typename Body>
int64_t ForEachBlock(std::span<const float> gradient, Body body) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  const int64_t whole = size / kStep * kStep;
  for (int64_t start = 0; start < whole; start += kBlockSize) {
    body(start, gradient.data() + start, std::min(kBlockSize, whole - start));
  }
  if (whole == size) return 0;
  float last[kStep] = {};
  std::copy(gradient.begin() + whole, gradient.end(), last);
  body(whole, static_cast<const float*>(last), kStep);
  return whole + kStep - size;
}

double MagnitudeOf(int32_t bits) { return std::bit_cast<float>(bits); }

}  // namespace

void FillMoments(const MomentSums& sums, int64_t finite, TensorStatistics* statistics) {
  if (finite == 0) return;
  const double count = static_cast<double>(finite);
  statistics->mean = sums.sum / count;
  statistics->mean_abs = sums.magnitudes / count;
  // sqrt(rms^2 - mean^2), in a form that neither overflows nor goes below 0.
  const double rms = statistics->l2_norm / std::sqrt(count);
  const double mean = std::fabs(statistics->mean);
  statistics->std_dev = rms > mean ? std::sqrt(rms - mean) * std::sqrt(rms + mean) : 0;
}

void MeasureNorm(std::span<const float> gradient, TensorStatistics* statistics) {
  *statistics = TensorStatistics();
  double squares = 0;
  int32_t max_bits = 0;
  ForEachBlock(gradient, [&](int64_t, const float* block, int64_t count) {
    BlockSums sums = SumNorm(block, count);
    if (sums.max_bits >= kInfinityBits) sums = SumFinite(block, count, statistics);
    squares += sums.squares;
    max_bits = std::max(max_bits, sums.max_bits);
  });
  statistics->max_abs = MagnitudeOf(max_bits);
  statistics->l2_norm = std::sqrt(squares);
}

void MeasureFull(std::span<const float> gradient, FullPass<float>* pass, TensorStatistics* statistics) {
  *statistics = TensorStatistics();
  pass->dot = 0;
  const int64_t size = static_cast<int64_t>(gradient.size());
  const ExponentSample sample(size, pass->step);
  BlockSums total;
  const int64_t padding = ForEachBlock(gradient, [&](int64_t start, const float* block, int64_t count) {
    BlockSums sums = SumFull(block, count);
    if (sums.min_bits < kNormalBits) CountTiny(block, count, statistics);
    if (sums.max_bits >= kLargeBits) {
      const double squares = sums.squares;
      const bool finite = sums.max_bits < kInfinityBits;
      sums = SumFinite(block, count, statistics);
      if (finite) sums.squares = squares;  // as MeasureNorm has them
    }
    total.squares += sums.squares;
    total.moments.sum += sums.moments.sum;
    total.moments.magnitudes += sums.moments.magnitudes;
    total.max_bits = std::max(total.max_bits, sums.max_bits);
    if (start % kBlockSize == 0) {
      pass->counter->Count(gradient.data(), start, std::min(size, start + kBlockSize), sample);
    }
    if (pass->last_gradient != nullptr) {
      pass->dot += DotAndCopy(gradient.data() + start, pass->last_gradient + start, std::min(size - start, count));
    }
  });
  statistics->zero_count -= padding;
  statistics->max_abs = MagnitudeOf(total.max_bits);
  statistics->l2_norm = std::sqrt(total.squares);
  FillMoments(total.moments, size - statistics->non_finite(), statistics);
  pass->counter->MoveTo(&statistics->histogram, static_cast<uint32_t>(total.max_bits));
  if (statistics->denormal_count > 0) CountDenormal(gradient, sample, &statistics->histogram);
  statistics->histogram_stride = static_cast<int32_t>(sample.stride());
}

}  // namespace gradwatch::core
