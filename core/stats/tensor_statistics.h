// Measures one tensor: every element is looked at once, in bits for what it is and in double for what it adds.
#ifndef GRADWATCH_CORE_STATS_TENSOR_STATISTICS_H_
#define GRADWATCH_CORE_STATS_TENSOR_STATISTICS_H_

#include <span>

#include "core/stats/step_record.h"

namespace gradwatch::core {

// Norm, largest magnitude and non-finite counts; all other fields become 0. NaN and infinities are counted and left out
// of the rest. An empty tensor is all zeros. Never allocates.
//
// float is fast: vector lanes of double over fixed blocks whose sums are added in index order. double, which only
// checks use, is summed plainly and scaled where squares would leave its range.
void MeasureNorm(std::span<const float> gradient, TensorStatistics* statistics);
void MeasureNorm(std::span<const double> gradient, TensorStatistics* statistics);

// Everything that v1::TensorStats has of level FULL; update_norm becomes 0. `weights` has as many elements; its norm is
// NaN or infinite where an element is.
void MeasureFull(std::span<const float> gradient, std::span<const float> weights, TensorStatistics* statistics);
void MeasureFull(std::span<const double> gradient, std::span<const double> weights, TensorStatistics* statistics);

// Sums over the finite elements of a tensor, from which the moments come.
struct MomentSums {
  double sum = 0;
  double magnitudes = 0;
};

// Fills mean, mean_abs and std_dev from the sums over `finite` elements and l2_norm, which must be set.
void FillMoments(const MomentSums& sums, int64_t finite, TensorStatistics* statistics);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_TENSOR_STATISTICS_H_
