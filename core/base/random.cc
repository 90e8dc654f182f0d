#include "core/base/random.h"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>

namespace gradwatch::core {

Random::Random(uint64_t seed, RandomStream stream, uint64_t index)
    : seed_(seed), stream_(static_cast<uint32_t>(stream)), index_(index) {}

void Random::Refill() {
  const r123::Philox4x32::ctr_type counter = {
      {block_++, stream_, static_cast<uint32_t>(index_), static_cast<uint32_t>(index_ >> 32)}};
  const r123::Philox4x32::key_type key = {{static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)}};
  const auto block = r123::Philox4x32()(counter, key);
  for (int i = 0; i < 4; ++i) buffer_[i] = block[i];
  left_ = 4;
}

uint32_t Random::NextBits() {
  if (left_ == 0) Refill();
  return buffer_[4 - left_--];
}

double Random::NextUniform() {
  const uint64_t high = NextBits() >> 5, low = NextBits() >> 6;  // 27 and 26 bits
  return static_cast<double>(high << 26 | low) * 0x1p-53;
}

uint64_t Random::NextBelow(uint64_t bound) {
  const uint64_t reject_below = -bound % bound;  // 2^64 mod bound: what would make small results likelier
  for (;;) {
    const uint64_t high = NextBits(), bits = high << 32 | NextBits();
    if (bits >= reject_below) return bits % bound;
  }
}

double Random::NextNormal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2 * std::log(1 - NextUniform()));
  const double angle = 2 * std::numbers::pi * NextUniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

}  // namespace gradwatch::core
