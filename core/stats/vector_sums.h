// Sums of squares and products of arrays, in double and in a fixed order.
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

extern template double SumOfSquares<float>(const float*, int64_t);
extern template double SumOfSquares<double>(const double*, int64_t);
extern template double DotAndCopy<float>(const float*, float*, int64_t);
extern template double DotAndCopy<double>(const double*, double*, int64_t);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_VECTOR_SUMS_H_
