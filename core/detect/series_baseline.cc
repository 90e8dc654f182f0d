#include "core/detect/series_baseline.h"

#include <algorithm>
#include <limits>

namespace gradwatch::core {
namespace {

// How many values are kept.
int KeptValues(const v1::SeriesCondition& condition) {
  return condition.baseline() == v1::SeriesCondition::BASELINE_MEAN ? condition.window() : 1;
}

}  // namespace

SeriesBaseline::SeriesBaseline(const v1::SeriesCondition& condition)
    : kind_(condition.baseline()),
      window_(condition.window()),
      warm_up_(condition.warm_up()),
      last_(KeptValues(condition)) {}

int64_t SeriesBaseline::Bytes(const v1::SeriesCondition& condition) {
  return SlidingMoments::Bytes(KeptValues(condition));
}

void SeriesBaseline::Admit(double value) {
  ++values_;
  switch (kind_) {
    case v1::SeriesCondition::BASELINE_MEAN:
      return last_.Add(value);
    case v1::SeriesCondition::BASELINE_MOVING:
      return moving_.AddWeighted(value, 1 / static_cast<double>(values_ <= warm_up_ ? values_ : window_));
    case v1::SeriesCondition::BASELINE_FIRST_LARGEST:
      if (values_ <= window_) extreme_ = values_ == 1 ? value : std::max(extreme_, value);
      return;
    case v1::SeriesCondition::BASELINE_LOWEST:
      extreme_ = values_ == 1 ? value : std::min(extreme_, value);
      return;
    default:
      return;
  }
}

double SeriesBaseline::value() const {
  switch (kind_) {
    case v1::SeriesCondition::BASELINE_MEAN:
      return last_.All().mean();
    case v1::SeriesCondition::BASELINE_MOVING:
      return moving_.mean();
    default:
      return extreme_;
  }
}

double SeriesBaseline::deviation() const {
  switch (kind_) {
    case v1::SeriesCondition::BASELINE_MEAN:
      return last_.All().deviation();
    case v1::SeriesCondition::BASELINE_MOVING:
      return moving_.deviation();
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

}  // namespace gradwatch::core
