// What a value of a series is judged against by the condition series: a mean, the largest or the lowest of the values
// before it.
#ifndef GRADWATCH_CORE_DETECT_SERIES_BASELINE_H_
#define GRADWATCH_CORE_DETECT_SERIES_BASELINE_H_

#include <cstdint>

#include "core/detect/moments.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// Not ready before `warm_up` values. Allocates only when it is made. Thread-compatible.
//
// MEAN: of the last `window` values, with the deviation of their population. MOVING: the first warm_up values count
// alike, each one after that has the weight 1 / window; so a warm-up of 1 begins with the first value, and a longer one
// with the mean of what it has seen.
class SeriesBaseline {
 public:
  // Of a resolved condition.
  explicit SeriesBaseline(const v1::SeriesCondition& condition);
  // Bytes that one allocates.
  static int64_t Bytes(const v1::SeriesCondition& condition);

  // Takes in a value, which must be finite.
  void Admit(double value);

  // Whether there is one and it has seen enough.
  bool ready() const { return kind_ != v1::SeriesCondition::BASELINE_UNSPECIFIED && values_ >= warm_up_; }
  // The baseline itself; when ready.
  double value() const;
  // Standard deviation of MEAN and MOVING; of others NaN.
  double deviation() const;

 private:
  const v1::SeriesCondition::Baseline kind_;
  const int64_t window_;
  const int64_t warm_up_;
  int64_t values_ = 0;
  SlidingMoments last_;  // MEAN
  Moments moving_;       // MOVING
  double extreme_ = 0;   // FIRST_LARGEST, LOWEST
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_SERIES_BASELINE_H_
