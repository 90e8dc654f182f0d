// A sum of squares that grows by a few vectors at a time, inside of a pass that does something else. For sources of the
// engine only: its size is that of the build's registers.
#ifndef GRADWATCH_CORE_STATS_SQUARE_SUM_H_
#define GRADWATCH_CORE_STATS_SQUARE_SUM_H_

#include <algorithm>
#include <cstdint>

#include "core/stats/float_vectors.h"

namespace gradwatch::core {

// In double, in a fixed order. A pass that waits for memory anyway can measure in between what it has just read or
// written at no cost. NaN and infinities show in the total. Squares of floats neither overflow nor underflow; squares
// of doubles may.
template <typename T>
class SquareSum {
 public:
  // Elements that are added at a time.
  static constexpr int64_t kBlock = 64;

  // `count` is at most kBlock.
  void Add(const T* values, int64_t count) {
    if (count == kBlock) return AddBlock(values);
    T padded[kBlock] = {};
    std::copy_n(values, count, padded);
    AddBlock(padded);
  }

  double Total() const { return vectors::Sum((sum0_ + sum1_) + (sum2_ + sum3_)); }

 private:
  void AddBlock(const T* values) {
    constexpr int64_t kWidth = vectors::kDoubles;
    static_assert(kBlock % (4 * kWidth) == 0);
    for (const T* from = values; from < values + kBlock; from += 4 * kWidth) {
      const vectors::Doubles x0 = vectors::LoadAsDoubles(from), x1 = vectors::LoadAsDoubles(from + kWidth);
      const vectors::Doubles x2 = vectors::LoadAsDoubles(from + 2 * kWidth);
      const vectors::Doubles x3 = vectors::LoadAsDoubles(from + 3 * kWidth);
      sum0_ += x0 * x0;
      sum1_ += x1 * x1;
      sum2_ += x2 * x2;
      sum3_ += x3 * x3;
    }
  }

  // By name: in an array the compiler would leave them in memory.
  vectors::Doubles sum0_{}, sum1_{}, sum2_{}, sum3_{};
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_SQUARE_SUM_H_
