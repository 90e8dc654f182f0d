// When a run is lost, told by its losses alone: what alerts are measured against.
#ifndef GRADWATCH_TESTS_SUPPORT_LOSS_MARKS_H_
#define GRADWATCH_TESTS_SUPPORT_LOSS_MARKS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/stats/step_record.h"

namespace gradwatch::testing {

// Takes the steps of one run in order. The best loss is the lowest median of 20 finite losses in a row so far, of fewer
// before there are 20; a loss is over when it is above three times the best of the steps before it, or not finite.
// Losses above 0 only.
class LossMarks {
 public:
  void Add(const core::StepRecord& record);
  // `is_finite`: the gradients.
  void Add(int64_t step, double loss, bool is_finite = true);

  // The first of 20 losses in a row that were all over, or of all to the end if the last step is not finite: what comes
  // back sooner is a noisy batch, a spike or a catapult.
  std::optional<int64_t> passed() const { return passed_.has_value() ? passed_ : lost(); }
  // The step from which every loss to the end was over, if those are 20 or more, or the last step is not finite.
  std::optional<int64_t> lost() const;
  // The first step with a loss or a gradient that is not finite.
  std::optional<int64_t> non_finite() const { return non_finite_; }
  // When the run was over and done with: non_finite(), or else lost().
  std::optional<int64_t> end() const { return non_finite_.has_value() ? non_finite_ : lost(); }
  double best() const { return best_; }
  double last() const { return last_; }

 private:
  static constexpr int kInARow = 20;
  static constexpr size_t kWindow = 20;
  static constexpr double kFactor = 3;

  void TakeIn(double loss);

  std::vector<double> window_;  // the last finite losses, the oldest at next_ once it is full
  size_t next_ = 0;
  double best_ = 0, last_ = 0;
  int64_t over_since_ = 0;
  int over_ = 0;             // in a row
  bool ends_finite_ = true;  // the last step
  std::optional<int64_t> passed_, non_finite_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_LOSS_MARKS_H_
