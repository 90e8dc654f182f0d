// Sums over many numbers, in double: in lanes that compilers turn into vector code, always in the same order.
#ifndef GRADWATCH_CORE_NN_SUMS_H_
#define GRADWATCH_CORE_NN_SUMS_H_

#include <cstdint>

#include "core/nn/memory_plan.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Two sums over the same numbers.
template <typename T>
struct SumPair {
  Sum<T> first, second;
};

// The sums over i in [0, size) of the two terms that `terms(i)` returns as a SumPair.
template <typename T, typename Terms>
SumPair<T> AddUp(int64_t size, const Terms& terms) {
  constexpr int64_t kLanes = 32;
  Sum<T> first[kLanes] = {}, second[kLanes] = {};
  const auto add = [&](int64_t start, int64_t count) {
    for (int64_t lane = 0; lane < count; ++lane) {
      const SumPair<T> term = terms(start + lane);
      first[lane] += term.first;
      second[lane] += term.second;
    }
  };
  int64_t start = 0;
  for (; start + kLanes <= size; start += kLanes) add(start, kLanes);
  add(start, size - start);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) {
      first[lane] += first[lane + width];
      second[lane] += second[lane + width];
    }
  }
  return {first[0], second[0]};
}

// Mean and biased variance of numbers of which only sums over their distances from `shift` are known: it lies among
// them, so that their size costs no digits.
template <typename T>
struct Moments {
  Sum<T> mean, variance;
  Moments(Sum<T> shift, const SumPair<T>& sums, int64_t count) {
    const double n = static_cast<double>(count);
    const Sum<T> distance = sums.first / n;
    mean = shift + distance;
    variance = sums.second / n - distance * distance;
    if (RealPart(variance) < 0) variance = 0;
  }
};

// Elements of T that hold `size` sums, and sums from scratch memory.
template <typename T>
int64_t SumMemory(int64_t size) {
  return AlignSize(MultiplySizes(size, sizeof(Sum<T>) / sizeof(T)));
}
template <typename T>
Sum<T>* TakeSums(Scratch<T>* scratch, int64_t size) {
  return reinterpret_cast<Sum<T>*>(scratch->Take(SumMemory<T>(size)));
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SUMS_H_
