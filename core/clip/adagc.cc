#include "core/clip/adagc.h"

#include <algorithm>

#include "core/base/status_macros.h"
#include "core/clip/saved_state.h"

namespace gradwatch::core {

AdaGc::AdaGc(const v1::AdaGcClip& settings, size_t tensors) : settings_(settings), averages_(tensors) {}

void AdaGc::Configure(const v1::AdaGcClip& settings) {
  const bool warm = steps_ + 1 >= settings_.warmup_steps();
  settings_ = settings;
  if (warm) steps_ = std::max<double>(steps_, settings_.warmup_steps() - 1);
}

double AdaGc::BeginStep(double norm, bool admit) {
  warming_up_ = steps_ + 1 < settings_.warmup_steps();
  admit_ = admit && norm > 0;
  if (admit_) ++steps_;
  const double limit = settings_.lambda_abs();
  global_coefficient_ = warming_up_ && norm > limit ? limit / norm : 1;
  if (warming_up_ && admit_) AdmitToWarmUp(norm);
  return global_coefficient_;
}

void AdaGc::AdmitToWarmUp(double norm) {
  if (norm * kOutlier < smallest_norm_) {
    std::fill(averages_.begin(), averages_.end(), 0);
    smallest_norm_ = 0;
  }
  admit_ = smallest_norm_ == 0 || norm <= kOutlier * smallest_norm_;
  if (admit_) smallest_norm_ = smallest_norm_ == 0 ? norm : std::min(smallest_norm_, norm);
}

double AdaGc::Coefficient(size_t tensor, double norm) {
  double& average = averages_[tensor];
  const double limit = average > 0 ? settings_.lambda_rel() * average : settings_.lambda_abs();
  const double coefficient = warming_up_ ? global_coefficient_ : norm > limit ? limit / norm : 1;
  const double limited = norm * coefficient;
  if (!admit_ || limited == 0) return coefficient;
  if (average == 0) {
    average = limited;
  } else if (warming_up_) {
    average = std::min(average, limited);
  } else {
    average = settings_.beta() * average + (1 - settings_.beta()) * limited;
  }
  return coefficient;
}

std::vector<double> AdaGc::State() const {
  std::vector<double> state = {steps_, smallest_norm_};
  state.insert(state.end(), averages_.begin(), averages_.end());
  return state;
}

absl::Status AdaGc::Restore(std::span<const double> state) {
  constexpr size_t kHead = 2;
  GW_RETURN_IF_ERROR(CheckSavedState(state, kHead + averages_.size(), kHead + averages_.size()));
  steps_ = state[0];
  smallest_norm_ = state[1];
  averages_.assign(state.begin() + kHead, state.end());
  return absl::OkStatus();
}

}  // namespace gradwatch::core
