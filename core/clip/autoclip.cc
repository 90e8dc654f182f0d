#include "core/clip/autoclip.h"

#include <utility>

#include "core/base/status_macros.h"
#include "core/clip/saved_state.h"

namespace gradwatch::core {

AutoClip::AutoClip(const v1::AutoClip& settings) : fraction_(settings.percentile() / 100), norms_(settings.history()) {}

void AutoClip::Configure(const v1::AutoClip& settings) {
  fraction_ = settings.percentile() / 100;
  if (settings.history() == norms_.capacity()) return;
  SortedWindow norms(settings.history());
  for (int i = 0; i < norms_.size(); ++i) norms.Add(norms_.ByAge(i));
  norms_ = std::move(norms);
}

double AutoClip::Limit(double norm, bool admit) {
  if (admit && norm > 0) norms_.Add(norm);
  return norms_.size() == 0 ? 0 : norms_.Quantile(fraction_);
}

std::vector<double> AutoClip::State() const {
  std::vector<double> state;
  state.reserve(static_cast<size_t>(norms_.size()));
  for (int i = 0; i < norms_.size(); ++i) state.push_back(norms_.ByAge(i));
  return state;
}

absl::Status AutoClip::Restore(std::span<const double> state) {
  GW_RETURN_IF_ERROR(CheckSavedState(state, 0, static_cast<size_t>(norms_.capacity())));
  norms_.Clear();
  for (const double norm : state) norms_.Add(norm);
  return absl::OkStatus();
}

}  // namespace gradwatch::core
