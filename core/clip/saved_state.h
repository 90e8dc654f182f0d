// The memory of an adaptive clip mode as plain numbers, for checkpoints.
#ifndef GRADWATCH_CORE_CLIP_SAVED_STATE_H_
#define GRADWATCH_CORE_CLIP_SAVED_STATE_H_

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace gradwatch::core {

// What every saved state must be: finite numbers, none below 0, `low` to `high` of them. INVALID_ARGUMENT otherwise.
inline absl::Status CheckSavedState(std::span<const double> state, size_t low, size_t high) {
  if (state.size() < low || state.size() > high) {
    return absl::InvalidArgumentError(
        absl::StrCat("a clip state of ", low, " to ", high, " numbers is needed, has ", state.size()));
  }
  const auto is_sound = [](double number) { return std::isfinite(number) && number >= 0; };
  if (std::all_of(state.begin(), state.end(), is_sound)) return absl::OkStatus();
  return absl::InvalidArgumentError("a clip state must be finite and not negative");
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_SAVED_STATE_H_
