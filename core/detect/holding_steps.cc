#include "core/detect/holding_steps.h"

#include <algorithm>
#include <bit>

namespace gradwatch::core {
namespace {

// The lowest so many bits.
uint64_t Lowest(int32_t bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }

}  // namespace

HoldingSteps::HoldingSteps(int32_t needed, int32_t within)
    : needed_(needed), within_(within <= needed ? needed : std::min(within, kMostWithin)) {}

void HoldingSteps::Hold(int64_t step) {
  if (in_a_row()) {
    if (count_++ == 0) first_step_ = step;
    return;
  }
  steps_[next_ % kMostWithin] = step;
  Shift(true);
}

void HoldingSteps::Calm() {
  if (in_a_row()) {
    count_ = 0;
  } else {
    Shift(false);
  }
}

void HoldingSteps::Shift(bool holds) {
  if (count_ == 0) bits_ = 0;  // cleared
  ++next_;
  bits_ = ((bits_ << 1) | (holds ? 1 : 0)) & Lowest(within_);
  count_ = std::popcount(bits_);
}

int64_t HoldingSteps::first_step() const {
  if (in_a_row()) return first_step_;
  const auto ago = static_cast<uint32_t>(63 - std::countl_zero(bits_));
  return steps_[(next_ - 1 - ago) % kMostWithin];
}

bool HoldingSteps::Helps() const {
  if (in_a_row()) return count_ > 0;
  // If all further steps held: which of the present ones still count when fewer than `needed` new ones have come?
  for (int32_t more = 1; more < needed_; ++more) {
    if (more + std::popcount(bits_ & Lowest(within_ - more)) >= needed_) return true;
  }
  return false;
}

}  // namespace gradwatch::core
