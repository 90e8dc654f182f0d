#include "core/stats/tensor_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace gradwatch::core {
namespace {

// Elements of a block; small enough for the first-level cache.
constexpr int64_t kBlockSize = 4096;
// Elements that the inner loop takes at a time.
constexpr int kStep = 16;

constexpr uint32_t kMagnitudeMask = 0x7fffffff;
constexpr uint32_t kInfinityBits = 0x7f800000;
constexpr uint32_t kNegativeZeroBits = 0x80000000;

// Counts exponents by sign, in several tables so that equal exponents in a row do not wait for each other's store.
class ExponentTables {
 public:
  static constexpr int kTables = 8;
  // No counter can overflow before this many elements.
  static constexpr int64_t kMaxElements = int64_t{kTables} * 65535;

  // Counts kStep elements. The key of an element is its sign and exponent as they lie in a float.
  void Count(const float* elements) {
    static_assert(std::endian::native == std::endian::little);
#pragma GCC unroll 8
    for (int i = 0; i < kStep; i += 2) {
      uint64_t pair;
      std::memcpy(&pair, elements + i, sizeof(pair));
      ++counts_[i % kTables][(pair >> 23) & (kKeys - 1)];
      ++counts_[(i + 1) % kTables][pair >> 55];
    }
  }

  // Adds the counts to `histogram` and starts again from zero. Keys of NaN and infinities are dropped.
  void MoveTo(HistogramCounts* histogram) {
    constexpr int kSigned = kKeys / 2;
    for (int table = 0; table < kTables; ++table) {
      for (int i = 0; i < HistogramCounts::kBuckets; ++i) {
        histogram->positive[i] += counts_[table][i];
        histogram->negative[i] += counts_[table][kSigned + i];
      }
    }
    std::memset(counts_, 0, sizeof(counts_));
  }

 private:
  static constexpr int kKeys = 512;
  uint16_t counts_[kTables][kKeys] = {};
};

// What a block of floats adds up to. The largest magnitude is kept as bits: they are ordered as the magnitudes are, and
// NaN lies above infinity, so that it also tells whether anything in the block is not finite.
struct BlockSums {
  double squares = 0;
  double weight_squares = 0;
  MomentSums moments;
  uint32_t max_bits = 0;
  int64_t positive_zeros = 0, negative_zeros = 0;
};

// Vectors in the notation that gcc and clang share, with as many numbers as a register holds doubles.
#ifdef __AVX512F__
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
using Floats = float __attribute__((vector_size(4 * kWidth)));
using Words = uint32_t __attribute__((vector_size(4 * kWidth)));
using Doubles = double __attribute__((vector_size(8 * kWidth)));
using LongWords = uint64_t __attribute__((vector_size(8 * kWidth)));

// kWidth elements: their bits, and their values with 0 in place of what is not finite.
struct Chunk {
  Words bits, magnitudes;
  Doubles values;

  explicit Chunk(const float* elements) {
    std::memcpy(&bits, elements, sizeof(bits));
    magnitudes = bits & kMagnitudeMask;
    const Words keep = reinterpret_cast<Words>(magnitudes < kInfinityBits);
    values = __builtin_convertvector(reinterpret_cast<Floats>(bits & keep), Doubles);
  }
};

void KeepLarger(const Words& candidates, Words* max) { *max = candidates > *max ? candidates : *max; }

struct NormLanes {
  Doubles squares{};
  Words max_bits{};

  void Add(const float* gradient) {
    const Chunk chunk(gradient);
    squares += chunk.values * chunk.values;
    KeepLarger(chunk.magnitudes, &max_bits);
  }
};

struct FullLanes {
  Doubles squares{}, sum{}, magnitudes{}, weight_squares{};
  Words max_bits{}, positive_zeros{}, negative_zeros{};

  void Add(const float* gradient, const float* weights) {
    const Chunk chunk(gradient);
    Floats narrow_weights;
    std::memcpy(&narrow_weights, weights, sizeof(narrow_weights));
    const Doubles weight = __builtin_convertvector(narrow_weights, Doubles);
    squares += chunk.values * chunk.values;
    sum += chunk.values;
    magnitudes += reinterpret_cast<Doubles>(reinterpret_cast<LongWords>(chunk.values) & (~uint64_t{0} >> 1));
    weight_squares += weight * weight;
    KeepLarger(chunk.magnitudes, &max_bits);
    // A comparison that holds is -1.
    positive_zeros -= reinterpret_cast<Words>(chunk.bits == 0);
    negative_zeros -= reinterpret_cast<Words>(chunk.bits == kNegativeZeroBits);
  }
};

// Adds the numbers of a vector to `sum`, one after the other.
template <typename Vector, typename Sum>
void AddTo(const Vector& vector, Sum* sum) {
  for (int i = 0; i < kWidth; ++i) *sum += vector[i];
}

void MaxTo(const Words& vector, uint32_t* max) {
  for (int i = 0; i < kWidth; ++i) *max = std::max<uint32_t>(*max, vector[i]);
}

// The loops below hold two vectors of every sum by name: in an array the compiler would leave them in memory. `count`
// is a multiple of kStep.
BlockSums SumNorm(const float* gradient, int64_t count) {
  NormLanes even, odd;
  for (int64_t i = 0; i < count; i += 2 * kWidth) {
    even.Add(gradient + i);
    odd.Add(gradient + i + kWidth);
  }
  BlockSums sums;
  for (const NormLanes& lanes : {even, odd}) {
    AddTo(lanes.squares, &sums.squares);
    MaxTo(lanes.max_bits, &sums.max_bits);
  }
  return sums;
}

BlockSums SumFull(const float* gradient, const float* weights, int64_t count, ExponentTables* tables) {
  FullLanes even, odd;
  for (int64_t i = 0; i < count; i += kStep) {
#pragma GCC unroll 8
    for (int64_t j = i; j < i + kStep; j += 2 * kWidth) {
      even.Add(gradient + j, weights + j);
      odd.Add(gradient + j + kWidth, weights + j + kWidth);
    }
    tables->Count(gradient + i);
  }
  BlockSums sums;
  for (const FullLanes& lanes : {even, odd}) {
    AddTo(lanes.squares, &sums.squares);
    AddTo(lanes.weight_squares, &sums.weight_squares);
    AddTo(lanes.sum, &sums.moments.sum);
    AddTo(lanes.magnitudes, &sums.moments.magnitudes);
    AddTo(lanes.positive_zeros, &sums.positive_zeros);
    AddTo(lanes.negative_zeros, &sums.negative_zeros);
    MaxTo(lanes.max_bits, &sums.max_bits);
  }
  return sums;
}

// Counts the non-finite elements of a block that has some, by kind, and makes max_bits that of the finite ones.
void CountNonFinite(const float* gradient, int64_t count, BlockSums* sums, TensorStatistics* statistics) {
  sums->max_bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(gradient[i]);
    const uint32_t magnitude = bits & kMagnitudeMask;
    if (magnitude < kInfinityBits) {
      sums->max_bits = std::max(sums->max_bits, magnitude);
    } else if (magnitude > kInfinityBits) {
      ++statistics->nan_count;
    } else {
      ++(bits == magnitude ? statistics->pos_inf_count : statistics->neg_inf_count);
    }
  }
}

// Hands `body` one block after the other as (first element, count), where count is a multiple of kStep. What is left
// over at the end is padded with zeros in a buffer; returns how many those are.
template <typename Body>
int64_t ForEachBlock(std::span<const float> gradient, std::span<const float> weights, Body body) {
  const int64_t size = static_cast<int64_t>(gradient.size());
  const int64_t whole = size / kStep * kStep;
  for (int64_t start = 0; start < whole; start += kBlockSize) {
    body(gradient.data() + start, weights.data() + start, std::min(kBlockSize, whole - start));
  }
  if (whole == size) return 0;
  float last_gradient[kStep] = {}, last_weights[kStep] = {};
  std::copy(gradient.begin() + whole, gradient.end(), last_gradient);
  std::copy(weights.begin() + whole, weights.end(), last_weights);
  body(last_gradient, last_weights, int64_t{kStep});
  return whole + kStep - size;
}

double MagnitudeOf(uint32_t bits) { return std::bit_cast<float>(bits); }

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
  ForEachBlock(gradient, gradient, [&](const float* block, const float*, int64_t count) {
    BlockSums sums = SumNorm(block, count);
    if (sums.max_bits >= kInfinityBits) CountNonFinite(block, count, &sums, statistics);
    squares += sums.squares;
    statistics->max_abs = std::max(statistics->max_abs, MagnitudeOf(sums.max_bits));
  });
  statistics->l2_norm = std::sqrt(squares);
}

void MeasureFull(std::span<const float> gradient, std::span<const float> weights, TensorStatistics* statistics) {
  *statistics = TensorStatistics();
  ExponentTables tables;
  int64_t in_tables = 0;
  BlockSums total;
  const int64_t padding = ForEachBlock(gradient, weights, [&](const float* block, const float* w, int64_t count) {
    if (in_tables + count > ExponentTables::kMaxElements) {
      tables.MoveTo(&statistics->histogram);
      in_tables = 0;
    }
    in_tables += count;
    BlockSums sums = SumFull(block, w, count, &tables);
    if (sums.max_bits >= kInfinityBits) CountNonFinite(block, count, &sums, statistics);
    total.squares += sums.squares;
    total.weight_squares += sums.weight_squares;
    total.moments.sum += sums.moments.sum;
    total.moments.magnitudes += sums.moments.magnitudes;
    total.max_bits = std::max(total.max_bits, sums.max_bits);
    total.positive_zeros += sums.positive_zeros;
    total.negative_zeros += sums.negative_zeros;
  });
  tables.MoveTo(&statistics->histogram);
  // Zeros share the exponent of the denormal numbers; without them the bucket holds just those.
  statistics->histogram.positive[0] -= static_cast<uint32_t>(total.positive_zeros);
  statistics->histogram.negative[0] -= static_cast<uint32_t>(total.negative_zeros);
  statistics->denormal_count = int64_t{statistics->histogram.positive[0]} + statistics->histogram.negative[0];
  statistics->zero_count = total.positive_zeros + total.negative_zeros - padding;
  statistics->max_abs = MagnitudeOf(total.max_bits);
  statistics->l2_norm = std::sqrt(total.squares);
  statistics->weight_norm = std::sqrt(total.weight_squares);
  FillMoments(total.moments, static_cast<int64_t>(gradient.size()) - statistics->non_finite(), statistics);
}

}  // namespace gradwatch::core
