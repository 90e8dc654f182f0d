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
  const auto counts = value > 0 ? statistics->histogram.positive() : statistics->histogram.negative();
  ++counts[BucketOf(std::fabs(value))];
}

// Mean, mean magnitude and standard deviation of `finite` elements, from their sums and l2_norm.
void FillMoments(double sum, double magnitudes, int64_t finite, TensorStatistics* statistics) {
  if (finite == 0) return;
  const double count = static_cast<double>(finite);
  statistics->mean = sum / count;
  statistics->mean_abs = magnitudes / count;
  // sqrt(rms^2 - mean^2), in a form that neither overflows nor goes below 0.
  const double rms = statistics->l2_norm / std::sqrt(count);
  const double mean = std::fabs(statistics->mean);
  statistics->std_dev = rms > mean ? std::sqrt(rms - mean) * std::sqrt(rms + mean) : 0;
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
  double sum = 0, magnitudes = 0;
  for (const double value : gradient) {
    if (!std::isfinite(value)) continue;
    sum += value;
    magnitudes += std::fabs(value);
    CountShape(value, statistics);
  }
  const int64_t size = static_cast<int64_t>(gradient.size());
  FillMoments(sum, magnitudes, size - statistics->non_finite(), statistics);
  pass->dot = pass->last_gradient == nullptr ? 0 : DotAndCopy(gradient.data(), pass->last_gradient, size);
}

}  // namespace gradwatch::core
