// Which of the last steps a condition has held on: enough of them make an alert fire.
#ifndef GRADWATCH_CORE_DETECT_HOLDING_STEPS_H_
#define GRADWATCH_CORE_DETECT_HOLDING_STEPS_H_

#include <array>
#include <cstdint>

namespace gradwatch::core {

// Counts the steps that could be judged; others are as if they had not been. Never allocates. Thread-compatible.
class HoldingSteps {
 public:
  // `needed` of the last `within` steps must hold: all in a row if `within` is not above `needed`, else at most
  // kMostWithin.
  HoldingSteps(int32_t needed, int32_t within);
  static constexpr int32_t kMostWithin = 64;

  void Hold(int64_t step);
  void Calm();
  void Clear() { count_ = 0; }

  // Of the last `within` steps. In a row: since the last calm one.
  int32_t count() const { return count_; }
  bool enough() const { return count_ >= needed_; }
  // The first step that counts. `count()` must be above 0.
  int64_t first_step() const;
  // Whether an alert may fire earlier for the steps that count: false means that they can as well be forgotten.
  bool Helps() const;

 private:
  bool in_a_row() const { return within_ <= needed_; }
  void Shift(bool holds);

  int32_t needed_;
  int32_t within_;
  int32_t count_ = 0;
  int64_t first_step_ = 0;  // in a row
  // Not in a row: bit i is the step of i steps ago, whose number is steps_[(next_ - 1 - i) % kMostWithin] if it held.
  uint64_t bits_ = 0;
  uint32_t next_ = 0;
  std::array<int64_t, kMostWithin> steps_{};
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_HOLDING_STEPS_H_
