// The sums of a block of floats: the loops that look at every element of every gradient. For tensor_statistics.cc only.
#ifndef GRADWATCH_CORE_STATS_BLOCK_SUMS_H_
#define GRADWATCH_CORE_STATS_BLOCK_SUMS_H_

#include <cmath>
#include <cstdint>
#include <optional>

#include "core/stats/exponent_counter.h"
#include "core/stats/float_vectors.h"
#include "core/tensor/vector.h"

namespace gradwatch::core::block {

using vectors::Doubles;
using vectors::Floats;
using vectors::Ints;
using vectors::kDoubles;
using vectors::kFloats;

// Elements of a block; small enough for the first-level cache.
inline constexpr int64_t kBlockSize = 4096;
// Vectors of floats that are added by a tree of three roundings; two such trees are added, and the halves of that
// vector, before the sum is added in double.
inline constexpr int kChain = 8;
inline constexpr int64_t kStep = int64_t{kChain} * kFloats;

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
  std::optional<int64_t> zeros;  // none: there are some, but they have not been counted

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
inline BlockSums SumNorm(const float* gradient, int64_t count) {
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

// Sums of floats, lane by lane. Elements that are not zero are counted if kCountsZeros, else their smallest magnitude
// shows whether there are zeros, which is less work.
template <bool kCountsZeros>
struct FullLanes {
  Doubles sum{}, magnitudes{};
  vectors::Counters non_zero{};
  Floats smallest = reinterpret_cast<Floats>(Ints{} + 0x7f800000);  // infinity

  GW_INLINE void LookAt(const FloatPair& a, const FloatPair& b) {
    if constexpr (kCountsZeros) {
      vectors::CountNonZero(a.larger, a.smaller, b.larger, b.smaller, &non_zero);
    } else {
      smallest = vectors::Smaller(vectors::Smaller(a.smaller, b.smaller), smallest);
    }
  }
  void LookAtOne(const Floats& element_magnitudes) {
    if constexpr (kCountsZeros) {
      vectors::CountNonZero(element_magnitudes, Floats{}, Floats{}, Floats{}, &non_zero);
    } else {
      smallest = vectors::Smaller(element_magnitudes, smallest);
    }
  }

  // Among `count` elements.
  std::optional<int64_t> Zeros(int64_t count) const {
    if constexpr (kCountsZeros) return count - vectors::Total(non_zero);
    return vectors::SmallestBits(smallest) > 0 ? std::optional<int64_t>(0) : std::nullopt;
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

template <typename Lanes>
GW_INLINE ChainSums SumChain(const float* elements, NormLanes* norm, Lanes* lanes) {
  ChainSums halves[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const float* const from = elements + i * kStep / 2;
    const FloatPair a = LoadPair(from, norm), b = LoadPair(from + 2 * kFloats, norm);
    lanes->LookAt(a, b);
    halves[i] = {a.sum + b.sum, (a.larger + a.smaller) + (b.larger + b.smaller)};
  }
  return {halves[0].elements + halves[1].elements, halves[0].magnitudes + halves[1].magnitudes};
}

// Calls `sample` with every ExponentCounter::kWhole elements, on the way: the loop is bound by the ports for vectors,
// so that what it does is for nothing.
template <bool kCountsZeros, typename Sample>
BlockSums SumFull(const float* gradient, int64_t count, Sample sample) {
  constexpr int64_t kPair = 2 * kStep;
  static_assert(ExponentCounter::kWhole % kPair == 0 && kBlockSize % ExponentCounter::kWhole == 0);
  NormLanes norm;
  FullLanes<kCountsZeros> lanes;
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
    lanes.LookAtOne(magnitudes);
    lanes.AddSums(x, magnitudes);
  }
  BlockSums sums;
  norm.MoveTo(&sums);
  sums.zeros = lanes.Zeros(count);
  sums.moments = {vectors::Sum(lanes.sum), vectors::Sum(lanes.magnitudes)};
  return sums;
}

}  // namespace gradwatch::core::block

#endif  // GRADWATCH_CORE_STATS_BLOCK_SUMS_H_
