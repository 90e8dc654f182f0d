#include "core/base/random.h"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>

namespace gradwatch::core {
namespace {

uint32_t HighProduct(uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t{a} * b >> 32); }

// `count` blocks of Philox 4x32-10 from number `block` on, 4 words each. Random123 has one block at a time; this is a
// loop that compilers turn into vector code.
void Philox(uint64_t seed, uint32_t stream, uint64_t index, uint32_t block, int64_t count, uint32_t* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t w0 = block + static_cast<uint32_t>(i), w1 = stream;
    uint32_t w2 = static_cast<uint32_t>(index), w3 = static_cast<uint32_t>(index >> 32);
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint32_t high0 = HighProduct(0xD2511F53, w0), low0 = 0xD2511F53 * w0;
      const uint32_t high1 = HighProduct(0xCD9E8D57, w2), low1 = 0xCD9E8D57 * w2;
      w0 = high1 ^ w1 ^ key0;
      w1 = low1;
      w2 = high0 ^ w3 ^ key1;
      w3 = low0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    out[4 * i] = w0;
    out[4 * i + 1] = w1;
    out[4 * i + 2] = w2;
    out[4 * i + 3] = w3;
  }
}

}  // namespace

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

void Random::Bits(int64_t position, std::span<uint32_t> bits) const {
  Philox(seed_, stream_, index_, static_cast<uint32_t>(position / 4), static_cast<int64_t>(bits.size() / 4),
         bits.data());
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
