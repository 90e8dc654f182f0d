// The statistics of a double tensor, summed plainly: only gradient checks measure those.
#include <algorithm>
#include <cmath>

#include "core/stats/norm_sum.h"
#include "core/stats/tensor_statistics.h"

namespace gradwatch::core {
namespace {

// Bucket of a finite magnitude above 0; float's exponents are the ends of the scale.
int BucketOf(double magnitude) {
  return std::clamp(std::ilogb(magnitude) - HistogramCounts::kMinExponent, 0, HistogramCounts::kBuckets - 1);
}

void CountNonFinite(double value, TensorStatistics* statistics) {
  if (std::isnan(value)) {
    ++statistics->nan_count;
  } else {
    ++(value > 0 ? statistics->pos_inf_count : statistics->neg_inf_count);
  }
}

void CountShape(double value, TensorStatistics* statistics) {
  if (value == 0) {
    ++statistics->zero_count;
    return;
  }
  if (std::fpclassify(value) == FP_SUBNORMAL) ++statistics->denormal_count;
  auto& counts = value > 0 ? statistics->histogram.positive : statistics->histogram.negative;
  ++counts[BucketOf(std::fabs(value))];
}

}  // namespace

void MeasureNorm(std::span<const double> gradient, TensorStatistics* statistics) {
  *statistics = TensorStatistics();
  NormSum norm;
  for (const double value : gradient) {
    if (!std::isfinite(value)) {
      CountNonFinite(value, statistics);
      continue;
    }
    norm.Add(std::fabs(value));
    statistics->max_abs = std::max(statistics->max_abs, std::fabs(value));
  }
  statistics->l2_norm = norm.Norm();
}

void MeasureFull(std::span<const double> gradient, std::span<const double> weights, TensorStatistics* statistics) {
  MeasureNorm(gradient, statistics);
  MomentSums sums;
  for (const double value : gradient) {
    if (!std::isfinite(value)) continue;
    sums.sum += value;
    sums.magnitudes += std::fabs(value);
    CountShape(value, statistics);
  }
  FillMoments(sums, static_cast<int64_t>(gradient.size()) - statistics->non_finite(), statistics);
  NormSum weight_norm;
  for (const double weight : weights) weight_norm.Add(std::fabs(weight));
  statistics->weight_norm = weight_norm.Norm();
}

}  // namespace gradwatch::core
