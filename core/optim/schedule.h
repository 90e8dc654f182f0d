// How the learning rate changes with the step.
//
// With r the spec's learning rate, w warm-up steps, T the horizon, and u = t - w the steps since the warm-up:
//
//   t < w         r (t + 1) / w, whatever the method (INVERSE_SQRT is the same without it)
//   CONSTANT      r
//   STEP          r gamma^floor(u / period)                       torch StepLR
//   EXPONENTIAL   r gamma^u                                       torch ExponentialLR
//   COSINE        f + (r - f) (1 + cos(pi u / (T - w))) / 2       torch CosineAnnealingLR
//   INVERSE_SQRT  r sqrt(w / (t + 1)), w at least 1               Vaswani et al. 2017
//   ONE_CYCLE     by half cosines                                 Smith 2017, torch OneCycleLR
//   PLATEAU       max(r gamma^k, f) after k reductions            torch ReduceLROnPlateau
//
// f is the final rate, which COSINE has from step T on. ONE_CYCLE goes from r / start_divisor to r at step
// rise_fraction T - 1 and down to r / start_divisor / end_divisor at step T - 1; the momentum goes the other way.
#ifndef GRADWATCH_CORE_OPTIM_SCHEDULE_H_
#define GRADWATCH_CORE_OPTIM_SCHEDULE_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "core/optim/plateau.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Checks the schedule of an optimizer's spec, whose method must be set. Violations are relative to the ScheduleSpec.
absl::Status ValidateSchedule(const v1::OptimizerSpec& optimizer);

// The schedule of a valid spec with every default of its method filled in; but the horizon stays unset, since it is the
// job's.
v1::ScheduleSpec ResolveSchedule(const v1::OptimizerSpec& optimizer);

// Thread-compatible.
class Schedule {
 public:
  // `optimizer` is a valid spec, resolved or not; `job_steps` is the horizon if it sets none.
  Schedule(const v1::OptimizerSpec& optimizer, int64_t job_steps);

  // The rate of `step`, from 0. A pure function of the step but for PLATEAU, where it also depends on the losses
  // observed so far.
  double RateAt(int64_t step) const;
  // What the optimizer's momentum (Adam: beta1) is to be at `step`; nullopt: what its spec says.
  std::optional<double> MomentumAt(int64_t step) const;
  // Tells the loss of a step that was learnt from, once for each, in order. Only PLATEAU listens.
  void ObserveLoss(double loss) { plateau_.Observe(loss); }

  // What PLATEAU remembers, for checkpoints.
  Plateau& plateau() { return plateau_; }

 private:
  double CourseAt(int64_t step) const;
  double CosineAt(int64_t step) const;
  // The value at `step` of what goes from `start` to `peak` and on to `end` over one cycle.
  double CycleAt(int64_t step, double start, double peak, double end) const;

  const double rate_;
  const v1::ScheduleSpec spec_;
  const int64_t warmup_, horizon_;
  Plateau plateau_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_SCHEDULE_H_
