#include "core/data/example_order.h"

#include <algorithm>
#include <bit>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

// The finaliser of MurmurHash3 (Appleby): every bit of the input reaches every bit of the output.
uint64_t Mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
  return x ^ x >> 33;
}

}  // namespace

Permutation::Permutation(int64_t count, uint64_t seed, uint64_t epoch)
    : count_(static_cast<uint64_t>(count)),
      half_bits_(std::max(1, (static_cast<int>(std::bit_width(count_ - 1)) + 1) / 2)) {
  Random random(seed, RandomStream::kBatches, epoch);
  for (uint64_t& key : keys_) key = random.NextBelow(~uint64_t{0});
}

uint64_t Permutation::Encrypt(uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_, right = value & mask;
  for (const uint64_t key : keys_) {
    const uint64_t mixed = left ^ (Mix(right ^ key) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

int64_t Permutation::operator()(int64_t index) const {
  uint64_t value = static_cast<uint64_t>(index);
  do {
    value = Encrypt(value);
  } while (value >= count_);
  return static_cast<int64_t>(value);
}

ExampleOrder::ExampleOrder(int64_t count, uint64_t seed) : count_(count), seed_(seed), permutation_(count, seed, 0) {}

int64_t ExampleOrder::At(int64_t place) {
  if (const int64_t epoch = place / count_; epoch != epoch_) {
    epoch_ = epoch;
    permutation_ = Permutation(count_, seed_, static_cast<uint64_t>(epoch));
  }
  return permutation_(place % count_);
}

}  // namespace gradwatch::core
