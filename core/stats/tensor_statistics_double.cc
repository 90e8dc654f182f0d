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

void CountTiny(double value, TensorStatistics* statistics) {
  if (value == 0) ++statistics->zero_count;
  if (std::fpclassify(value) == FP_SUBNORMAL) ++statistics->denormal_count;
}

// Mean, mean magnitude and standard deviation of `finite` elements, whose largest magnitude is known. All are scaled by
// a power of two, so that neither sums nor squares leave the range of double; the distances are those from an element,
// which give the mean, and then from that (see MeasureMomentsAgain of floats).
void FillMoments(std::span<const double> gradient, int64_t finite, TensorStatistics* statistics) {
  if (finite == 0 || statistics->max_abs == 0) return;
  const int exponent = std::ilogb(statistics->max_abs) + 2;
  const double count = static_cast<double>(finite);
  const auto mean_of = [&](auto term) {
    double sum = 0;
    for (const double value : gradient) sum += std::isfinite(value) ? term(std::ldexp(value, -exponent)) : 0;
    return sum / count;
  };
  const double near = std::ldexp(FirstFinite(gradient.data(), static_cast<int64_t>(gradient.size())), -exponent);
  const double mean = near + mean_of([near](double value) { return value - near; });
  const double rest = mean_of([mean](double value) { return value - mean; });
  const double square = mean_of([mean](double value) { return (value - mean) * (value - mean); });
  const double magnitude = mean_of([](double value) { return std::fabs(value); });
  statistics->mean = std::ldexp(mean, exponent);
  statistics->mean_abs = std::ldexp(std::max(magnitude, std::fabs(mean)), exponent);
  statistics->std_dev = std::ldexp(std::sqrt(std::max(0.0, square - rest * rest)), exponent);
}

}  // namespace

void MeasureNorm(std::span<const double> gradient, TensorStatistics* statistics) {
  statistics->ClearNumbers();
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
  for (const double value : gradient) CountTiny(value, statistics);
  if (pass->counts_exponents) MeasureHistogram(gradient, pass->step, statistics);
  const int64_t size = static_cast<int64_t>(gradient.size());
  FillMoments(gradient, size - statistics->non_finite(), statistics);
  pass->dot = pass->last_gradient == nullptr ? 0 : DotAndCopy(gradient.data(), pass->last_gradient, size);
}

void MeasureHistogram(std::span<const double> gradient, int64_t /*step*/, TensorStatistics* statistics) {
  statistics->histogram = HistogramCounts();
  for (const double value : gradient) {
    if (value == 0 || !std::isfinite(value)) continue;
    const auto counts = value > 0 ? statistics->histogram.positive() : statistics->histogram.negative();
    ++counts[BucketOf(std::fabs(value))];
  }
}

}  // namespace gradwatch::core
