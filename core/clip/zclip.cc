#include "core/clip/zclip.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/status_macros.h"
#include "core/clip/saved_state.h"

namespace gradwatch::core {

ZClip::ZClip(const v1::ZClip& settings) { Configure(settings); }

void ZClip::Configure(const v1::ZClip& settings) {
  settings_ = settings;
  if (warm_) return;
  const auto needed = static_cast<size_t>(settings.warmup_steps());
  warm_up_.reserve(needed);
  if (warm_up_.size() >= needed) StartAverages();
}

ZClip::Verdict ZClip::Judge(double norm, bool admit) {
  admit = admit && norm > 0;
  const double max_norm = settings_.max_norm();
  if (!warm_) {
    if (admit) AdmitToWarmUp(norm);
    return {max_norm, max_norm};
  }
  const double cap = max_norm > 0 ? max_norm : std::numeric_limits<double>::infinity();
  const double deviation = std::max(std::sqrt(variance_), kLeastDeviation * mean_);
  const double usual = mean_ + settings_.z_threshold() * deviation;
  double limit = norm;
  if (norm > usual) {
    const double z = (norm - mean_) / deviation;
    limit = settings_.method() == v1::ZClip::METHOD_MEAN
                ? mean_
                : mean_ + deviation * settings_.z_threshold() * (settings_.z_threshold() / z);
  }
  if (admit) Admit(limit);
  return {std::min(limit, cap), std::min(usual, cap)};
}

void ZClip::AdmitToWarmUp(double norm) {
  warm_up_.push_back(norm);
  if (warm_up_.size() >= static_cast<size_t>(settings_.warmup_steps())) StartAverages();
}

void ZClip::StartAverages() {
  const auto middle = warm_up_.begin() + static_cast<std::ptrdiff_t>(warm_up_.size() / 2);
  std::nth_element(warm_up_.begin(), middle, warm_up_.end());
  const double median = *middle;
  for (double& norm : warm_up_) norm = norm > kOutlier * median ? median : norm;
  const auto count = static_cast<double>(warm_up_.size());
  mean_ = variance_ = 0;
  for (const double norm : warm_up_) mean_ += norm / count;
  for (const double norm : warm_up_) variance_ += (norm - mean_) * (norm - mean_) / count;
  warm_up_.clear();
  warm_ = true;
}

void ZClip::Admit(double norm) {
  const double alpha = settings_.alpha();
  mean_ = alpha * mean_ + (1 - alpha) * norm;
  variance_ = alpha * variance_ + (1 - alpha) * (norm - mean_) * (norm - mean_);
}

std::vector<double> ZClip::State() const {
  std::vector<double> state = {warm_ ? 1.0 : 0.0, mean_, variance_};
  state.insert(state.end(), warm_up_.begin(), warm_up_.end());
  return state;
}

absl::Status ZClip::Restore(std::span<const double> state) {
  constexpr size_t kHead = 3;
  GW_RETURN_IF_ERROR(CheckSavedState(state, kHead, kHead + static_cast<size_t>(settings_.warmup_steps()) - 1));
  warm_ = state[0] != 0;
  mean_ = state[1];
  variance_ = state[2];
  warm_up_.assign(state.begin() + kHead, state.end());
  return absl::OkStatus();
}

}  // namespace gradwatch::core
