#include "client/lib/backoff.h"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>

namespace gradwatch::client {
namespace {

std::function<double()> MakeUniform() {
  auto generator = std::make_shared<std::minstd_rand>(std::random_device{}());
  return [generator] { return std::uniform_real_distribution<double>()(*generator); };
}

}  // namespace

Backoff::Backoff(absl::Duration initial, absl::Duration max, std::function<double()> uniform)
    : initial_(initial), max_(max), uniform_(uniform ? std::move(uniform) : MakeUniform()), bound_(initial) {}

absl::Duration Backoff::Next() {
  const absl::Duration delay = uniform_() * bound_;
  bound_ = std::min(max_, 2 * bound_);
  return delay;
}

}  // namespace gradwatch::client
