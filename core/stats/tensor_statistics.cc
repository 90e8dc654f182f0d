#include "core/stats/tensor_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "core/stats/float_vectors.h"
#include "core/stats/vector_sums.h"
#include "core/tensor/vector.h"

namespace gradwatch::core {
namespace {

using vectors::Doubles;
using vectors::Floats;
using vectors::Ints;
using vectors::kDoubles;
using vectors::kFloats;

// Elements of a block; small enough for the first-level cache.
constexpr int64_t kBlockSize = 4096;
// Vectors of floats that are added by a tree of three roundings; two such trees are added, and the halves of that
// vector, before the sum is added in double.
constexpr int kChain = 8;
constexpr int64_t kStep = int64_t{kChain} * kFloats;

constexpr int32_t kMagnitudeMask = 0x7fffffff;
constexpr int32_t kInfinityBits = 0x7f800000;
// Sums of 32 smaller numbers are finite.
constexpr int32_t kLargeBits = 0x7f800000 - (5 << 23);
// The smallest number that is neither 0 nor denormal.
constexpr int32_t kNormalBits = 0x00800000;

// Sums over finite elements.
struct MomentSums {
  double sum = 0;
  double magnitudes = 0;
};

// What a block of floats adds up to.
struct BlockSums {
  double squares = 0;
  MomentSums moments;
  // Bits of the largest magnitude and of the smallest that is not zero. They mean nothing unless is_finite().
  int32_t max_bits = 0;
  int32_t min_bits = 0;
  int64_t zeros = 0;

  // Squares of floats do not overflow as doubles.
  bool is_finite() const { return std::isfinite(squares); }
};

// Squares in double, and the largest magnitude. Both levels use it and add in the same order, so that the norm does not
// depend on how much is watched.
struct NormLanes {
  Doubles squares0{}, squares1{}, squares2{}, squares3{};
  Floats max{};

  // Adds two vectors of floats, and keeps `largest`, their larger magnitudes.
  void Add(const float* elements, const Floats& largest) {
    const Doubles x0 = vectors::LoadAsDoubles(elements), x1 = vectors::LoadAsDoubles(elements + kDoubles);
    const Doubles x2 = vectors::LoadAsDoubles(elements + 2 * kDoubles);
    const Doubles x3 = vectors::LoadAsDoubles(elements + 3 * kDoubles);
    squares0 += x0 * x0;
    squares1 += x1 * x1;
    squares2 += x2 * x2;
    squares3 += x3 * x3;
    max = vectors::Larger(largest, max);
  }

  // The same with one vector.
  void AddOne(const float* elements, const Floats& magnitudes) {
    const Doubles x0 = vectors::LoadAsDoubles(elements), x1 = vectors::LoadAsDoubles(elements + kDoubles);
    squares0 += x0 * x0;
    squares1 += x1 * x1;
    max = vectors::Larger(magnitudes, max);
  }

  void MoveTo(BlockSums* sums) const {
    sums->squares = vectors::Sum((squares0 + squares1) + (squares2 + squares3));
    sums->max_bits = vectors::LargestBits(max);
  }
};

// `count` is a multiple of kFloats in all of these.
BlockSums SumNorm(const float* gradient, int64_t count) {
  NormLanes lanes;
  const int64_t whole = count / kStep * kStep;
  for (int64_t i = 0; i < whole; i += 2 * kFloats) {
    const Floats x0 = vectors::Load<Floats>(gradient + i), x1 = vectors::Load<Floats>(gradient + i + kFloats);
    lanes.Add(gradient + i, vectors::LargerMagnitude(x0, x1));
  }
  for (int64_t i = whole; i < count; i += kFloats) {
    lanes.AddOne(gradient + i, vectors::Magnitudes(vectors::Load<Floats>(gradient + i)));
  }
  BlockSums sums;
  lanes.MoveTo(&sums);
  return sums;
}

// Sums of floats, lane by lane, and the lanes' smallest magnitudes that are not zero. Zeros are looked for in kChain
// vectors at a time and counted where there are some: behind ReLU they come in whole rows.
struct FullLanes {
  Doubles sum{}, magnitudes{};
  Floats min = reinterpret_cast<Floats>(Ints{} + kInfinityBits);
  Ints non_zero{};      // among the elements that were counted
  int64_t counted = 0;  // elements

  // `smallest` magnitudes of the kChain vectors that begin at `elements`.
  GW_INLINE void LookAtChain(const Floats& smallest, const float* elements) {
    if (__builtin_expect(vectors::AreNonZero(smallest), 1)) {
      min = vectors::Smaller(smallest, min);
      return;
    }
    // In turn, so that a minimum does not wait for the one before.
    Floats mins[2] = {min, min};
#pragma GCC unroll 8
    for (int i = 0; i < kChain; ++i) {
      vectors::CountNonZero(vectors::Load<Floats>(elements + i * kFloats), &non_zero, &mins[i % 2]);
    }
    min = vectors::Smaller(mins[0], mins[1]);
    counted += kStep;
  }

  GW_INLINE void LookAtOne(const Floats& elements) {
    vectors::CountNonZero(elements, &non_zero, &min);
    counted += kFloats;
  }

  void AddSums(const Floats& elements, const Floats& element_magnitudes) {
    vectors::AddHalves(elements, &sum);
    vectors::AddHalves(element_magnitudes, &magnitudes);
  }
};

// A tree of sums of kChain vectors.
struct ChainSums {
  Floats elements, magnitudes;
};

GW_INLINE ChainSums SumChain(const float* elements, NormLanes* norm, FullLanes* lanes) {
  ChainSums sums[2];
  Floats smallest;
#pragma GCC unroll 4
  for (int j = 0; j < kChain / 2; ++j) {
    const float* const at = elements + 2 * j * kFloats;
    const Floats x0 = vectors::Load<Floats>(at), x1 = vectors::Load<Floats>(at + kFloats);
    // The two are both magnitudes: one instruction less than to take them one by one.
    const Floats larger = vectors::LargerMagnitude(x0, x1), smaller = vectors::SmallerMagnitude(x0, x1);
    norm->Add(at, larger);
    smallest = j == 0 ? smaller : vectors::Smaller(smaller, smallest);
    const Floats pair = x0 + x1, pair_magnitudes = larger + smaller;
    ChainSums& half = sums[j / 2];
    half.elements = j % 2 == 0 ? pair : half.elements + pair;
    half.magnitudes = j % 2 == 0 ? pair_magnitudes : half.magnitudes + pair_magnitudes;
  }
  lanes->LookAtChain(smallest, elements);
  return {sums[0].elements + sums[1].elements, sums[0].magnitudes + sums[1].magnitudes};
}

// Elements that SumFull hands to `sample` at a time.
constexpr int64_t kSampledStep = ExponentCounter::kWhole;
static_assert(kSampledStep % (2 * kStep) == 0 && kBlockSize % kSampledStep == 0);

// Calls `sample` for every kSampledStep elements, on the way: the loop is bound by the ports for vectors, so that what
// it does is for nothing.
template <typename Sample>
BlockSums SumFull(const float* gradient, int64_t count, const Sample& sample) {
  NormLanes norm;
  FullLanes lanes;
  const int64_t pairs = count / (2 * kStep) * (2 * kStep), whole = count / kStep * kStep;
  for (int64_t i = 0; i < pairs; i += 2 * kStep) {
    const ChainSums first = SumChain(gradient + i, &norm, &lanes);
    const ChainSums second = SumChain(gradient + i + kStep, &norm, &lanes);
    lanes.AddSums(first.elements + second.elements, first.magnitudes + second.magnitudes);
    if (const int64_t end = i + 2 * kStep; end % kSampledStep == 0) sample(gradient + end - kSampledStep);
  }
  if (pairs < whole) {
    const ChainSums last = SumChain(gradient + pairs, &norm, &lanes);
    lanes.AddSums(last.elements, last.magnitudes);
  }
  for (int64_t i = whole; i < count; i += kFloats) {
    const Floats x = vectors::Load<Floats>(gradient + i), magnitudes = vectors::Magnitudes(x);
    norm.AddOne(gradient + i, magnitudes);
    lanes.LookAtOne(x);
    lanes.AddSums(x, magnitudes);
  }
  BlockSums sums;
  norm.MoveTo(&sums);
  sums.min_bits = vectors::SmallestBits(lanes.min);
  sums.zeros = lanes.counted - vectors::Total(lanes.non_zero);
  sums.moments = {vectors::Sum(lanes.sum), vectors::Sum(lanes.magnitudes)};
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
    ++(gradient[index] > 0 ? histogram->positive : histogram->negative)[0];
  }
}

// Hands `body` one block after the other as (index of its first element, elements, count), where count is a multiple of
// kFloats. What is left over at the end is padded with zeros in a buffer; returns how many those are.
template <typename Body>
int64_t ForEachBlock(std::span<const float> gradient, Body body) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  const int64_t whole = size / kFloats * kFloats;
  for (int64_t start = 0; start < whole; start += kBlockSize) {
    body(start, gradient.data() + start, std::min(kBlockSize, whole - start));
  }
  if (whole == size) return 0;
  float last[kFloats] = {};
  std::copy(gradient.begin() + whole, gradient.end(), last);
  body(whole, static_cast<const float*>(last), int64_t{kFloats});
  return whole + kFloats - size;
}

// Sums a block of ForEachBlock, and counts the exponents of what lies in its kBlockSize elements of the tensor.
BlockSums SumSampled(std::span<const float> gradient, int64_t start, const float* block, int64_t count,
                     const ExponentSample& sample, ExponentCounter* counter) {
  int64_t counted = start;
  BlockSums sums;
  if (sample.stride() == 1) {
    sums = SumFull(block, count, [](const float*) {});
  } else {
    ExponentSample::Walk walk(sample, start);
    sums = SumFull(block, count, [&](const float* from) { counter->CountWhole(from, sample.stride(), &walk); });
    counted += count / kSampledStep * kSampledStep;
  }
  const int64_t end = std::min(static_cast<int64_t>(gradient.size()), start + kBlockSize);
  if (start % kBlockSize == 0) counter->Count(gradient.data(), counted, end, sample);
  return sums;
}

double MagnitudeOf(int32_t bits) { return std::bit_cast<float>(bits); }

// Mean, mean magnitude and standard deviation of `finite` elements.
void FillMoments(const BlockSums& total, int64_t finite, TensorStatistics* statistics) {
  if (finite == 0) return;
  const double share = 1 / static_cast<double>(finite);
  statistics->mean = total.moments.sum * share;
  statistics->mean_abs = total.moments.magnitudes * share;
  const double variance = total.squares * share - statistics->mean * statistics->mean;
  statistics->std_dev = variance > 0 ? std::sqrt(variance) : 0;
}

}  // namespace

void MeasureNorm(std::span<const float> gradient, TensorStatistics* statistics) {
  std::construct_at(statistics);
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
  std::construct_at(statistics);
  pass->dot = 0;
  const int64_t size = static_cast<int64_t>(gradient.size());
  const ExponentSample sample(size, pass->step);
  BlockSums total;
  total.min_bits = kInfinityBits;
  const int64_t padding = ForEachBlock(gradient, [&](int64_t start, const float* block, int64_t count) {
    BlockSums sums = SumSampled(gradient, start, block, count, sample, pass->counter);
    if (sums.min_bits < kNormalBits || !sums.is_finite()) {
      CountTiny(block, count, statistics);
    } else {
      statistics->zero_count += sums.zeros;
    }
    if (sums.max_bits >= kLargeBits || !sums.is_finite()) {
      const BlockSums finite = SumFinite(block, count, statistics);
      sums.squares = sums.is_finite() ? sums.squares : finite.squares;  // as MeasureNorm has them
      sums.moments = finite.moments;
      sums.max_bits = finite.max_bits;
      sums.min_bits = 0;
    }
    total.squares += sums.squares;
    total.moments.sum += sums.moments.sum;
    total.moments.magnitudes += sums.moments.magnitudes;
    total.max_bits = std::max(total.max_bits, sums.max_bits);
    total.min_bits = std::min(total.min_bits, sums.min_bits);
    if (pass->last_gradient != nullptr) {
      pass->dot += DotAndCopy(gradient.data() + start, pass->last_gradient + start, std::min(size - start, count));
    }
  });
  statistics->zero_count -= padding;
  statistics->max_abs = MagnitudeOf(total.max_bits);
  statistics->l2_norm = std::sqrt(total.squares);
  FillMoments(total, size - statistics->non_finite(), statistics);
  pass->counter->MoveTo(&statistics->histogram, static_cast<uint32_t>(total.min_bits),
                        static_cast<uint32_t>(total.max_bits));
  if (statistics->denormal_count > 0) CountDenormal(gradient, sample, &statistics->histogram);
  statistics->histogram_stride = static_cast<int32_t>(sample.stride());
}

}  // namespace gradwatch::core
