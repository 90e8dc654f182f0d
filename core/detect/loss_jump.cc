#include "core/detect/loss_jump.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

// A gradient norm this many times the median goes with the jump of the loss.
constexpr double kLargeNorm = 3;

}  // namespace

LossJump::LossJump(const v1::Rule& rule)
    : factor_(rule.loss_jump().factor()), history_(rule.loss_jump().window(), kWarmUp) {}

Verdict LossJump::Judge(const StepRecord& record) {
  Verdict verdict;
  if (!std::isfinite(record.loss)) return verdict;
  const double median = history_.ready() ? history_.usual().Median() : 0;
  const bool holds = median > 0 && record.loss > factor_ * median;
  if (median > 0) verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  verdict.value = record.loss;
  verdict.limit = factor_ * median;
  verdict.usual = median;
  history_.Admit(record.loss, holds);
  return verdict;
}

void LossJump::Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                        v1::Alert* alert) const {
  alert->set_summary(absl::StrFormat("loss %s is %s times its median %s", Number(verdict.value),
                                     Number(verdict.value / verdict.usual), Number(verdict.usual)));
  const bool large_update = ExplainLastUpdate(record, context, alert);
  const double usual_norm = context.usual_norm();
  if (usual_norm > 0 && record.grad_norm > kLargeNorm * usual_norm) {
    const int tensor = LargestTensor(record);
    alert->add_diagnosis(absl::StrFormat("The gradient norm is %s, %s times its median%s.", Number(record.grad_norm),
                                         Number(record.grad_norm / usual_norm), LargestIn(context.NameOf(tensor))));
    SuggestCures(record, tensor, context, alert);
    return;
  }
  if (usual_norm > 0 && !large_update) {
    alert->add_diagnosis("The gradient norm is as usual: look at the data, or at units that saturate.");
  }
  if (record.learning_rate > 0) {
    alert->add_diagnosis(
        absl::StrFormat("If the loss stays up, go back to an earlier state with a learning rate of %.2g "
                        "instead of %s.",
                        record.learning_rate / 10, Number(record.learning_rate)));
  }
}

}  // namespace gradwatch::core
