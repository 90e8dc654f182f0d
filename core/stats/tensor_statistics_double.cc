// The statistics of a double tensor, summed plainly: only gradient checks measure those.
#include <algorithm>
#include <cmath>

#include "core/stats/norm_sum.h"
#include "core/stats/tensor_statistics.h"
#include "core/stats/vector_sums.h"

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

void MeasureFull(std::span<const double> gradient, FullPass<double>* pass, TensorStatistics* statistics) {
  MeasureNorm(gradient, statistics);
  MomentSums sums;
  for (const double value : gradient) {
    if (!std::isfinite(value)) continue;
    sums.sum += value;
    sums.magnitudes += std::fabs(value);
    CountShape(value, statistics);
  }
  const int64_t size = static_cast<int64_t>(gradient.size());
  FillMoments(sums, size - statistics->non_finite(), statistics);
  pass->dot = pass->last_gradient == nullptr ? 0 : DotAndCopy(gradient.data(), pass->last_gradient, size);
}

}  // namespace gradwatch::core
