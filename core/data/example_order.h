// The order in which a finite set of examples is walked: shuffled anew in every epoch, without any state.
#ifndef GRADWATCH_CORE_DATA_EXAMPLE_ORDER_H_
#define GRADWATCH_CORE_DATA_EXAMPLE_ORDER_H_

#include <array>
#include <cstdint>

namespace gradwatch::core {

// A random permutation of 0 ... count - 1 that can be asked anywhere: a Feistel network over the next power of four,
// walked along its cycle until it falls below count (Black and Rogaway 2002). Thread-safe, immutable.
class Permutation {
 public:
  // count >= 1. Equal arguments give equal permutations.
  Permutation(int64_t count, uint64_t seed, uint64_t epoch);
  // The image of `index`, 0 <= index < count.
  int64_t operator()(int64_t index) const;

 private:
  static constexpr int kRounds = 8;

  uint64_t Encrypt(uint64_t value) const;

  uint64_t count_;
  int half_bits_;
  std::array<uint64_t, kRounds> keys_;
};

// Which example stands at each place of an endless walk. Epoch e is places e * count to (e + 1) * count - 1 and has
// every example once. Thread-compatible.
class ExampleOrder {
 public:
  ExampleOrder(int64_t count, uint64_t seed);
  // The example at `place`, from 0. Fast for places of the same epoch.
  int64_t At(int64_t place);

 private:
  int64_t count_;
  uint64_t seed_;
  int64_t epoch_ = 0;
  Permutation permutation_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_EXAMPLE_ORDER_H_
