// Counter-based random numbers: a number is a pure function of (seed, stream, counter), so nothing needs to be saved to
// go on later, and no thread depends on another's draws. Philox 4x32-10 (Salmon et al. 2011), by Random123.
#ifndef GRADWATCH_CORE_BASE_RANDOM_H_
#define GRADWATCH_CORE_BASE_RANDOM_H_

#include <cstdint>
#include <span>

namespace gradwatch::core {

// What a stream of numbers is for; streams never share numbers.
enum class RandomStream : uint32_t { kInitialization = 1, kBatches = 2, kDropout = 3, kSyntheticData = 4 };

// A sequence of random numbers. Cheap to make and to copy. Not thread-safe.
class Random {
 public:
  // `index` tells sequences of one stream apart: a tensor's position, a step.
  Random(uint64_t seed, RandomStream stream, uint64_t index);
  // 32 uniform bits.
  uint32_t NextBits();
  // Many at once: what a new sequence's NextBits would give from its number `position` on. Position and size are
  // multiples of 4.
  void Bits(int64_t position, std::span<uint32_t> bits) const;
  // Uniform in [0, 1), a multiple of 2^-53.
  double NextUniform();
  // Uniform in [0, bound), bound >= 1, without bias.
  uint64_t NextBelow(uint64_t bound);
  // Standard normal (Box and Muller).
  double NextNormal();

 private:
  void Refill();

  uint64_t seed_;
  uint32_t stream_;
  uint64_t index_;
  uint32_t block_ = 0;
  uint32_t buffer_[4];
  int left_ = 0;
  double spare_normal_ = 0;
  bool has_spare_ = false;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_RANDOM_H_
