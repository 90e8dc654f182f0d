// The condition loss_jump: a loss far above what was usual.
#ifndef GRADWATCH_CORE_DETECT_LOSS_JUMP_H_
#define GRADWATCH_CORE_DETECT_LOSS_JUMP_H_

#include "core/detect/condition.h"
#include "core/detect/history.h"

namespace gradwatch::core {

// Judges loss > factor * median over the window of steps before, if the loss also lies outside their spread:
//
//   ln(loss) > median of ln + 3 * 1.4826 * MAD of ln
//
// because the losses of single batches of a run that has nearly converged differ by powers of ten. A loss that is not
// finite is non_finite's business and never enters the history. A median that is not above 0 gives no measure: then
// nothing is judged. Silent until kWarmUp losses are in, which are few, because a run whose start was wrong is lost
// soon.
class LossJump final : public Condition {
 public:
  static constexpr int kWarmUp = 5;

  explicit LossJump(const v1::Rule& rule);

  Verdict Judge(const StepRecord& record) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                v1::Alert* alert) const override;

 private:
  const double factor_;
  History history_;  // of ln(loss)
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_LOSS_JUMP_H_
