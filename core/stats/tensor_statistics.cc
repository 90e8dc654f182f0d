#include "core/stats/tensor_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <optional>

#include "core/stats/denormal_flag.h"
#include "core/stats/exponent_counter.h"
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
  // Bits of the largest magnitude. They and `zeros` mean nothing unless is_finite().
  int32_t max_bits = 0;
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

// Sums of floats, lane by lane, and how many are not zero.
struct FullLanes {
  Doubles sum{}, magnitudes{};
  vectors::Counters non_zero{};

  void AddSums(const Floats& elements, const Floats& element_magnitudes) {
    vectors::AddHalves(elements, &sum);
    vectors::AddHalves(element_magnitudes, &magnitudes);
  }
};

// Two vectors: both magnitudes, and their sum.
struct FloatPair {
  Floats larger, smaller, sum;
};

GW_INLINE FloatPair LoadPair(const float* from, NormLanes* norm) {
  const Floats x = vectors::Load<Floats>(from), y = vectors::Load<Floats>(from + kFloats);
  // One instruction less than to take the magnitudes one by one.
  const Floats larger = vectors::LargerMagnitude(x, y);
  norm->Add(from, larger);
  return {larger, vectors::SmallerMagnitude(x, y), x + y};
}

// A tree of sums of kChain vectors.
struct ChainSums {
  Floats elements, magnitudes;
};

GW_INLINE ChainSums SumChain(const float* elements, NormLanes* norm, FullLanes* lanes) {
  ChainSums halves[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const float* const from = elements + i * kStep / 2;
    const FloatPair a = LoadPair(from, norm), b = LoadPair(from + 2 * kFloats, norm);
    vectors::CountNonZero(a.larger, a.smaller, b.larger, b.smaller, &lanes->non_zero);
    halves[i] = {a.sum + b.sum, (a.larger + a.smaller) + (b.larger + b.smaller)};
  }
  return {halves[0].elements + halves[1].elements, halves[0].magnitudes + halves[1].magnitudes};
}

// Calls `sample` with every ExponentCounter::kWhole elements, on the way: the loop is bound by the ports for vectors,
// so that what it does is for nothing.
template <typename Sample>
BlockSums SumFull(const float* gradient, int64_t count, Sample sample) {
  constexpr int64_t kPair = 2 * kStep;
  static_assert(ExponentCounter::kWhole % kPair == 0 && kBlockSize % ExponentCounter::kWhole == 0);
  NormLanes norm;
  FullLanes lanes;
  const int64_t pairs = count / kPair * kPair, whole = count / kStep * kStep;
  for (int64_t i = 0; i < pairs; i += kPair) {
    const ChainSums first = SumChain(gradient + i, &norm, &lanes);
    const ChainSums second = SumChain(gradient + i + kStep, &norm, &lanes);
    lanes.AddSums(first.elements + second.elements, first.magnitudes + second.magnitudes);
    if (const int64_t end = i + kPair; end % ExponentCounter::kWhole == 0) {
      sample(gradient + end - ExponentCounter::kWhole);
    }
  }
  if (pairs < whole) {
    const ChainSums last = SumChain(gradient + pairs, &norm, &lanes);
    lanes.AddSums(last.elements, last.magnitudes);
  }
  for (int64_t i = whole; i < count; i += kFloats) {
    const Floats x = vectors::Load<Floats>(gradient + i), magnitudes = vectors::Magnitudes(x);
    norm.AddOne(gradient + i, magnitudes);
    vectors::CountNonZero(magnitudes, Floats{}, Floats{}, Floats{}, &lanes.non_zero);
    lanes.AddSums(x, magnitudes);
  }
  BlockSums sums;
  norm.MoveTo(&sums);
  sums.zeros = count - vectors::Total(lanes.non_zero);
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

// Sums a block of ForEachBlock, and counts the exponents of what lies in its kBlockSize elements of the tensor.
BlockSums SumSampled(std::span<const float> gradient, int64_t start, const float* block, int64_t count,
                     const ExponentSample& sample, ExponentCounter* counter) {
  int64_t counted = start;
  BlockSums sums;
  if (sample.stride() == 1) {
    sums = SumFull(block, count, [](const float*) {});
  } else {
    ExponentSample::Walk walk(sample, start);
    sums = SumFull(block, count, [counter, &walk](const float* from) { counter->CountWhole(from, &walk); });
    counted += count / ExponentCounter::kWhole * ExponentCounter::kWhole;
  }
  const int64_t end = std::min(static_cast<int64_t>(gradient.size()), start + kBlockSize);
  if (start % kBlockSize == 0) counter->Count(gradient.data(), counted, end);
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
  ExponentCounter counter(sample, &statistics->histogram);
  BlockSums total;
  DenormalFlag denormal;
  const int64_t padding = ForEachBlock(gradient, [&](int64_t start, const float* block, int64_t count) {
    BlockSums sums = SumSampled(gradient, start, block, count, sample, &counter);
    if (denormal.IsSeen(&sums.squares) || !sums.is_finite()) {
      CountTiny(block, count, statistics);
    } else {
      statistics->zero_count += sums.zeros;
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
  FillMoments(total, size - statistics->non_finite(), statistics);
  counter.Finish();
  if (statistics->denormal_count > 0) CountDenormal(gradient, sample, &statistics->histogram);
  statistics->histogram_stride = static_cast<int32_t>(sample.stride());
}

}  // namespace gradwatch::core
