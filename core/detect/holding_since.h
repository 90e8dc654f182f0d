// Since when a condition has held without a quiet step in between, for the words of its alert.
#ifndef GRADWATCH_CORE_DETECT_HOLDING_SINCE_H_
#define GRADWATCH_CORE_DETECT_HOLDING_SINCE_H_

#include <cstdint>

#include "core/detect/condition.h"

namespace gradwatch::core {

// Steps that could not be judged change nothing, as in the episode of the alert. Thread-compatible.
class HoldingSince {
 public:
  static constexpr int64_t kNever = -1;

  // Takes the verdict of a step in and gives it back.
  Verdict Take(int64_t step, const Verdict& verdict) {
    if (verdict.kind == Verdict::Kind::kQuiet) first_ = kNever;
    if (verdict.kind == Verdict::Kind::kHolds && first_ == kNever) first_ = step;
    return verdict;
  }
  // The first of the steps on which it has held; kNever: the last step that was judged was quiet, or there was none.
  int64_t first() const { return first_; }

 private:
  int64_t first_ = kNever;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_HOLDING_SINCE_H_
