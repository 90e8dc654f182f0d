// The sum of squares of numbers that lie in the first-level cache, where a pass over a block has just read or written
// them: how weights and updates are measured inside the optimizer's pass.
#ifndef GRADWATCH_CORE_STATS_SQUARE_SUM_H_
#define GRADWATCH_CORE_STATS_SQUARE_SUM_H_

#include <cstdint>

namespace gradwatch::core {

// In double, in a fixed order; NaN and infinities show in the result. Squares of floats neither overflow nor underflow;
// squares of doubles may.
double SumOfSquares(const float* values, int64_t count);
double SumOfSquares(const double* values, int64_t count);

// The sum of products of `a` and `b`, in double, in a fixed order; `b` becomes a copy of `a`. They do not overlap.
double DotAndCopy(const float* a, float* b, int64_t count);
double DotAndCopy(const double* a, double* b, int64_t count);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_SQUARE_SUM_H_
