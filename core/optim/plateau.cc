#include "core/optim/plateau.h"

#include <algorithm>
#include <cmath>

namespace gradwatch::core {
namespace {

// A smaller change of the rate is not made.
constexpr double kSmallestChange = 1e-8;

}  // namespace

Plateau::Plateau(double rate, const v1::ScheduleSpec& spec)
    : average_steps_(spec.average_steps()),
      patience_(spec.period()),
      cooldown_(spec.cooldown()),
      threshold_(spec.threshold()),
      gamma_(spec.gamma()),
      lowest_rate_(spec.final_rate()) {
  state_.rate = rate;
}

void Plateau::Observe(double loss) {
  state_.loss_sum += loss;
  if (++state_.losses < average_steps_) return;
  Judge(state_.loss_sum / static_cast<double>(state_.losses));
  state_.loss_sum = 0;
  state_.losses = 0;
}

void Plateau::Judge(double observation) {
  if (std::isfinite(observation) && observation < state_.best * (1 - threshold_)) {
    state_.best = observation;
    state_.bad = 0;
  } else {
    ++state_.bad;
  }
  if (state_.cooldown > 0) {
    --state_.cooldown;
    state_.bad = 0;
  }
  if (state_.bad <= patience_) return;
  const double lower = std::max(state_.rate * gamma_, lowest_rate_);
  if (state_.rate - lower > kSmallestChange) state_.rate = lower;
  state_.cooldown = cooldown_;
  state_.bad = 0;
}

}  // namespace gradwatch::core
