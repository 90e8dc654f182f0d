// The statistics of a tensor once more, slowly and one element after the other, to compare the fast ones with.
#ifndef GRADWATCH_TESTS_CORE_STATS_REFERENCE_STATISTICS_H_
#define GRADWATCH_TESTS_CORE_STATS_REFERENCE_STATISTICS_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/stats/step_record.h"

namespace gradwatch::testing {

template <typename T>
core::TensorStatistics ReferenceStatistics(const std::vector<T>& gradient) {
  core::TensorStatistics s;
  long double squares = 0, sum = 0, magnitudes = 0;
  int64_t finite = 0;
  for (const T x : gradient) {
    if (std::isnan(x)) {
      ++s.nan_count;
    } else if (std::isinf(x)) {
      ++(x > 0 ? s.pos_inf_count : s.neg_inf_count);
    } else {
      ++finite;
      squares += static_cast<long double>(x) * x;
      sum += x;
      magnitudes += std::fabs(x);
      s.max_abs = std::max<double>(s.max_abs, std::fabs(x));
      if (x == 0) {
        ++s.zero_count;
        continue;
      }
      if (std::fpclassify(x) == FP_SUBNORMAL) ++s.denormal_count;
      const int bucket = std::clamp(std::ilogb(x) - core::HistogramCounts::kMinExponent, 0, 254);
      ++(x > 0 ? s.histogram.positive() : s.histogram.negative())[bucket];
    }
  }
  s.l2_norm = static_cast<double>(std::sqrt(squares));
  if (finite == 0) return s;
  const long double mean = sum / finite;
  s.mean = static_cast<double>(mean);
  s.mean_abs = static_cast<double>(magnitudes / finite);
  // The mean is rounded; what it is off by is taken out again.
  long double deviations = 0, rest = 0;
  for (const T x : gradient) {
    if (!std::isfinite(x)) continue;
    deviations += (x - mean) * (x - mean);
    rest += x - mean;
  }
  rest /= finite;
  s.std_dev = static_cast<double>(std::sqrt(std::max(0.0L, deviations / finite - rest * rest)));
  return s;
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_CORE_STATS_REFERENCE_STATISTICS_H_
