#include "core/clip/spam.h"

#include <cmath>
#include <numbers>

#include "core/base/status_macros.h"
#include "core/clip/saved_state.h"

namespace gradwatch::core {

SpamSchedule::Step SpamSchedule::Next() {
  Step step;
  ++since_;
  if (settings_.reset_interval() > 0 && since_ >= settings_.reset_interval()) {
    step.reset_moments = true;
    reset_before_ = true;
    since_ = 0;
  }
  step.cuts = since_ >= kSettleSteps;
  step.learning_rate_scale = LearningRateScale();
  return step;
}

double SpamSchedule::LearningRateScale() const {
  const double warmup = settings_.warmup_steps();
  if (!reset_before_ || since_ > warmup) return 1;
  return 1 - 0.99 * (1 + std::cos(std::numbers::pi * since_ / (warmup + 1))) / 2;
}

absl::Status SpamSchedule::Restore(std::span<const double> state) {
  GW_RETURN_IF_ERROR(CheckSavedState(state, 2, 2));
  since_ = state[0];
  reset_before_ = state[1] != 0;
  return absl::OkStatus();
}

}  // namespace gradwatch::core
