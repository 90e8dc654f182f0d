#include "core/detect/loss_jump.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

// A gradient norm this many times the median goes with the jump of the loss.
constexpr double kLargeNorm = 3;
// Robust standard deviations of the logarithm within which a loss is not outside the spread.
constexpr double kSpread = 3;
constexpr double kDeviationOfMad = 1.4826;
// Stands for losses that have no logarithm.
constexpr double kSmallestLoss = 1e-300;

}  // namespace

LossJump::LossJump(const v1::Rule& rule)
    : factor_(rule.loss_jump().factor()), history_(rule.loss_jump().window(), kWarmUp) {}

Verdict LossJump::Judge(const StepRecord& record) {
  Verdict verdict;
  if (!std::isfinite(record.loss)) return verdict;
  const double y = std::log(std::max(record.loss, kSmallestLoss));
  if (!history_.ready() || history_.usual().Median() <= std::log(kSmallestLoss)) {
    history_.Admit(y, false);
    return verdict;
  }
  const double median = history_.usual().Median();
  const double spread = kSpread * kDeviationOfMad * history_.usual().MedianDeviation();
  const double limit = median + std::max(std::log(factor_), spread);
  const bool holds = y > limit;
  verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  if (holds) {
    verdict.value = record.loss;
    verdict.limit = std::exp(limit);
    verdict.usual = std::exp(median);
  }
  history_.Admit(y, holds);
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
