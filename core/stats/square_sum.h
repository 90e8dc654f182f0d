// A sum of squares that grows inside of a pass that does something else. For sources of the engine only: its size is
// that of the build's registers.
#ifndef GRADWATCH_CORE_STATS_SQUARE_SUM_H_
#define GRADWATCH_CORE_STATS_SQUARE_SUM_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/stats/float_vectors.h"

namespace gradwatch::core {

// In a fixed order. A pass that waits for memory anyway can measure in between what it has just read or written. NaN
// and infinities show in the total.
//
// Squares of doubles are added in double, and may overflow. Of floats sixteen squares each are added as floats, which
// is off by 4e-7 at most and by nothing on average, and these sums in double; where squares are out of float's range,
// they are doubles from the start, so they neither overflow nor underflow.
template <typename T>
class SquareSum {
 public:
  // Elements that are best added at a time.
  static constexpr int64_t kBlock = 512;

  // `count` is at most kBlock.
  void Add(const T* values, int64_t count) { sum_ += SumBlock(values, count); }
  // Whether the next block is tried as floats.
  bool adds_floats() const { return std::is_same_v<T, float> && !in_double_; }
  // Adds kBlock floats whose squares were added as above by whoever had them in registers, with the sum `squares`.
  void AddBlock(double squares, const float* values) {
    sum_ += IsInRange(squares) ? squares : SumOutOfRange(values, kBlock);
  }
  double Total() const { return sum_; }

 private:
  using Doubles = vectors::Doubles;
  using Floats = vectors::Floats;
  // Sums of squares in this range have neither overflown nor lost anything that counts.
  static bool IsInRange(double squares) { return squares >= 1e-30 && squares <= 1e37; }

  static double SumBlock(const double* values, int64_t count) { return SumInDouble(values, count); }

  double SumBlock(const float* values, int64_t count) {
    if (in_double_) return SumOutOfRange(values, count);
    constexpr int64_t kWidth = vectors::kFloats, kGroup = 8 * kWidth;
    Doubles sum{};
    const int64_t whole = count / kGroup * kGroup;
    for (const float* from = values; from < values + whole; from += kGroup) {
      Floats even{}, odd{};
#pragma GCC unroll 4
      for (int i = 0; i < 8; i += 2) {
        const Floats x = vectors::Load<Floats>(from + i * kWidth), y = vectors::Load<Floats>(from + (i + 1) * kWidth);
        even += x * x;
        odd += y * y;
      }
      vectors::AddHalves(even + odd, &sum);
    }
    const double squares = vectors::Sum(sum);
    if (whole > 0 && !IsInRange(squares)) return SumOutOfRange(values, count);
    return whole < count ? squares + SumInDouble(values + whole, count - whole) : squares;
  }

  double SumOutOfRange(const float* values, int64_t count) {
    // As changes are that are too small for their weights.
    if (AreZero(values, count)) return 0;
    const double squares = SumInDouble(values, count);
    in_double_ = !IsInRange(squares);
    return squares;
  }

  static bool AreZero(const float* values, int64_t count) {
    constexpr int64_t kWidth = vectors::kFloats;
    vectors::Ints bits{};
    const int64_t whole = count / kWidth * kWidth;
    for (int64_t i = 0; i < whole; i += kWidth) bits |= vectors::Load<vectors::Ints>(values + i);
    for (int64_t i = whole; i < count; ++i) {
      if (values[i] != 0) return false;
    }
    return vectors::LargestBits(reinterpret_cast<Floats>(bits & 0x7fffffff)) == 0;
  }

  static double SumInDouble(const T* values, int64_t count) {
    constexpr int64_t kWidth = vectors::kDoubles;
    Doubles even{}, odd{};
    const int64_t whole = count / (2 * kWidth) * (2 * kWidth);
    const auto add = [&](const T* from) {
      const Doubles x = vectors::LoadAsDoubles(from), y = vectors::LoadAsDoubles(from + kWidth);
      even += x * x;
      odd += y * y;
    };
    for (int64_t i = 0; i < whole; i += 2 * kWidth) add(values + i);
    if (whole < count) {
      T padded[2 * kWidth] = {};
      std::copy_n(values + whole, count - whole, padded);
      add(padded);
    }
    return vectors::Sum(even + odd);
  }

  double sum_ = 0;
  // The block before was out of range, so this one is not tried as floats: denormal squares take a processor a hundred
  // times as long.
  bool in_double_ = false;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_SQUARE_SUM_H_
