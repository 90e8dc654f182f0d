// Which weights an update can be judged against.
#ifndef GRADWATCH_CORE_DETECT_JUDGED_WEIGHTS_H_
#define GRADWATCH_CORE_DETECT_JUDGED_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gradwatch::core {

// Not those of a norm below 1e-12, of which any update is a large part. One that is so small when it is first seen (a
// bias, as a rule) is left out for 100 steps, because it must grow by large parts of itself. Allocates only when it is
// made. Thread-compatible.
class JudgedWeights {
 public:
  explicit JudgedWeights(size_t tensors) : from_(tensors, kUnseen) {}
  // Bytes that one allocates for each tensor.
  static constexpr int64_t kBytesEach = sizeof(int64_t);

  // Whether the update of tensor `i`, below `tensors`, can be judged at this step. To be asked on every step on which
  // it was measured, in order.
  bool Judge(size_t i, double weight_norm, int64_t step) {
    const bool zero = weight_norm < kSmallestNorm;  // false for NaN
    if (from_[i] == kUnseen) from_[i] = step + (zero ? kStepsAfterZero : 0);
    return !zero && step >= from_[i];
  }

 private:
  static constexpr double kSmallestNorm = 1e-12;
  static constexpr int64_t kStepsAfterZero = 100;
  static constexpr int64_t kUnseen = -1;

  std::vector<int64_t> from_;  // of each tensor: the first step to judge
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_JUDGED_WEIGHTS_H_
