#include "core/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace gradwatch::core {
namespace {

// From `start` to `end` as `part` goes from 0 to 1.
double HalfCosine(double start, double end, double part) {
  return end + (start - end) / 2 * (1 + std::cos(std::numbers::pi * part));
}

}  // namespace

Schedule::Schedule(const v1::OptimizerSpec& optimizer, int64_t job_steps)
    : rate_(optimizer.learning_rate()),
      spec_(ResolveSchedule(optimizer)),
      warmup_(spec_.warmup_steps()),
      horizon_(spec_.has_horizon() ? spec_.horizon() : job_steps),
      plateau_(rate_, spec_) {}

double Schedule::RateAt(int64_t step) const {
  if (step < warmup_) {
    const double part = static_cast<double>(step + 1) / static_cast<double>(warmup_);
    return part * (spec_.method() == v1::ScheduleSpec::METHOD_PLATEAU ? plateau_.rate() : rate_);
  }
  return CourseAt(step);
}

double Schedule::CourseAt(int64_t step) const {
  const int64_t since = step - warmup_;
  switch (spec_.method()) {
    case v1::ScheduleSpec::METHOD_STEP:
      return rate_ * std::pow(spec_.gamma(), static_cast<double>(since / spec_.period()));
    case v1::ScheduleSpec::METHOD_EXPONENTIAL:
      return rate_ * std::pow(spec_.gamma(), static_cast<double>(since));
    case v1::ScheduleSpec::METHOD_COSINE:
      return CosineAt(step);
    case v1::ScheduleSpec::METHOD_INVERSE_SQRT:
      return rate_ * std::sqrt(static_cast<double>(std::max<int64_t>(warmup_, 1)) / static_cast<double>(step + 1));
    case v1::ScheduleSpec::METHOD_ONE_CYCLE: {
      const double start = rate_ / spec_.start_divisor();
      return CycleAt(step, start, rate_, start / spec_.end_divisor());
    }
    case v1::ScheduleSpec::METHOD_PLATEAU:
      return plateau_.rate();
    default:
      return rate_;
  }
}

double Schedule::CosineAt(int64_t step) const {
  if (step >= horizon_) return spec_.final_rate();
  return HalfCosine(rate_, spec_.final_rate(),
                    static_cast<double>(step - warmup_) / static_cast<double>(horizon_ - warmup_));
}

double Schedule::CycleAt(int64_t step, double start, double peak, double end) const {
  const double last = static_cast<double>(horizon_ - 1),
               top = spec_.rise_fraction() * static_cast<double>(horizon_) - 1;
  const double now = std::min(static_cast<double>(step), last);
  // A top on the first step may be off by a rounding.
  constexpr double kRounding = 1e-9;
  if (now <= top + kRounding) return HalfCosine(start, peak, top > kRounding ? now / top : 1);
  return HalfCosine(peak, end, (now - top) / (last - top));
}

std::optional<double> Schedule::MomentumAt(int64_t step) const {
  if (!spec_.cycle_momentum()) return std::nullopt;
  return CycleAt(step, spec_.max_momentum(), spec_.min_momentum(), spec_.max_momentum());
}

}  // namespace gradwatch::core
