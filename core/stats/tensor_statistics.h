// Measures one tensor: every element is looked at once, in bits for what it is and in double for what it adds.
#ifndef GRADWATCH_CORE_STATS_TENSOR_STATISTICS_H_
#define GRADWATCH_CORE_STATS_TENSOR_STATISTICS_H_

#include <cstdint>
#include <span>

#include "core/stats/step_record.h"

namespace gradwatch::core {

// Norm, largest magnitude and non-finite counts; all other fields become as they are at first, but for the histogram,
// which is left alone. NaN and infinities are counted and left out of the rest. An empty tensor is all zeros. Never
// allocates.
//
// float is fast: vector lanes of double over fixed blocks whose sums are added in index order. double, which only
// checks use, is summed plainly and scaled where squares would leave its range.
void MeasureNorm(std::span<const float> gradient, TensorStatistics* statistics);
void MeasureNorm(std::span<const double> gradient, TensorStatistics* statistics);

// What a full measurement of one tensor needs besides the gradient.
template <typename T>
struct FullPass {
  int64_t step = 0;              // moves the sample of the histogram on
  bool counts_exponents = true;  // else the histogram is left alone
  T* last_gradient = nullptr;    // unless null: becomes a copy of the gradient,
  double dot = 0;                // and this the sum of its products with the one before
};

// Everything that v1::TensorStats has of the gradient with level FULL; the norm is the same number as of MeasureNorm.
// Norms of weights and update are left at 0 for the optimizer's pass to fill; so is the cosine.
//
// What `statistics` holds of the step before says only whether to expect zeros: counting them on the way is faster for
// a tensor that has some, and slower for others.
//
// Squares are summed in double. For float the sums of elements and of magnitudes are made of sums of 32 floats,
// which are added in double: mean and mean_abs are off by at most 3e-7 mean_abs (five roundings). std_dev is right to
// 1e-5 of itself whatever the mean, and 0 where all elements are equal: where it is small against the mean, both are
// measured once more in double, by two passes over the distances from the mean. The histogram of a large float tensor
// is a sample (see ExponentSample); all counts are exact.
void MeasureFull(std::span<const float> gradient, FullPass<float>* pass, TensorStatistics* statistics);
void MeasureFull(std::span<const double> gradient, FullPass<double>* pass, TensorStatistics* statistics);

// The histogram alone, as MeasureFull measures it on this step. `statistics` has all the rest of the same gradient.
void MeasureHistogram(std::span<const float> gradient, int64_t step, TensorStatistics* statistics);
void MeasureHistogram(std::span<const double> gradient, int64_t step, TensorStatistics* statistics);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_TENSOR_STATISTICS_H_
