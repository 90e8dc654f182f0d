// Sums of squares, products and distances of arrays, in double and in a fixed order.
#ifndef GRADWATCH_CORE_STATS_VECTOR_SUMS_H_
#define GRADWATCH_CORE_STATS_VECTOR_SUMS_H_

#include <cstdint>

namespace gradwatch::core {

// The sum of the squares of `count` values; see SquareSum.
template <typename T>
double SumOfSquares(const T* values, int64_t count);

// The sum of products of `a` and `b`; `b` becomes a copy of `a`. They do not overlap.
template <typename T>
double DotAndCopy(const T* a, T* b, int64_t count);

// Sums over the finite ones of some values, of their distances from a number.
struct DistanceSums {
  double count = 0, distances = 0, squares = 0;

  // The mean distance, and the biased variance. Both are right to some roundings of double if the number lies no
  // further from the mean than the values do: what is subtracted is then small against what is left.
  double MeanDistance() const { return distances / count; }
  double Variance() const;
};

// The distances of `count` values from `from`, which is finite. Their squares must not leave the range of double; those
// of floats do not.
template <typename T>
DistanceSums SumDistances(const T* values, int64_t count, double from);

// The first of `count` values that is finite; 0 if none is.
template <typename T>
double FirstFinite(const T* values, int64_t count);

extern template double SumOfSquares<float>(const float*, int64_t);
extern template double SumOfSquares<double>(const double*, int64_t);
extern template double DotAndCopy<float>(const float*, float*, int64_t);
extern template double DotAndCopy<double>(const double*, double*, int64_t);
extern template DistanceSums SumDistances<float>(const float*, int64_t, double);
extern template DistanceSums SumDistances<double>(const double*, int64_t, double);
extern template double FirstFinite<float>(const float*, int64_t);
extern template double FirstFinite<double>(const double*, int64_t);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_VECTOR_SUMS_H_
