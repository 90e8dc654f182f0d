#include "core/detect/update_ratio.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

// A ratio to aim at when a lower rate is suggested; 0.001 to 0.01 is usual.
constexpr double kHealthyRatio = 0.01;
// An update that replaces the weights: no rate to suggest follows from it.
constexpr double kHopelessRatio = 10;
// A gradient norm this many times the median is why the update is large.
constexpr double kLargeNorm = 3;

bool WasUpdated(const StepRecord& record) {
  return record.level == v1::STATISTICS_LEVEL_FULL && record.clip.action != v1::ClipOutcome::ACTION_SKIPPED &&
         record.clip.action != v1::ClipOutcome::ACTION_STOPPED;
}

}  // namespace

UpdateRatio::UpdateRatio(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_ratio_(rule.update_ratio().max_ratio()),
      tensors_(MatchingTensors(rule, tensor_names)),
      judged_from_(tensors_.size(), kUnseen) {}

Verdict UpdateRatio::Judge(const StepRecord& record) {
  Verdict worst;
  if (!WasUpdated(record)) return worst;
  worst.limit = max_ratio_;
  for (size_t i = 0; i < tensors_.size() && tensors_[i] < static_cast<int>(record.tensors.size()); ++i) {
    const TensorStatistics& tensor = record.tensors[tensors_[i]];
    const bool zero = tensor.weight_norm < kSmallestWeightNorm;
    if (judged_from_[i] == kUnseen) judged_from_[i] = record.step + (zero ? kStepsAfterZero : 0);
    if (zero || !std::isfinite(tensor.weight_norm) || record.step < judged_from_[i]) continue;
    if (worst.kind == Verdict::Kind::kUnknown) worst.kind = Verdict::Kind::kQuiet;
    const double ratio = tensor.update_norm / tensor.weight_norm;
    if (ratio <= worst.value) continue;  // false for NaN: a broken update is worse than any
    worst.value = ratio;
    worst.tensor = tensors_[i];
    if (std::isnan(ratio)) break;
  }
  if (worst.tensor >= 0 && !(worst.value <= max_ratio_)) worst.kind = Verdict::Kind::kHolds;
  return worst;
}

void UpdateRatio::Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                           v1::Alert* alert) const {
  const TensorStatistics& tensor = record.tensors[verdict.tensor];
  alert->set_tensor(context.NameOf(verdict.tensor));
  alert->set_summary(absl::StrFormat("the update of %s is %s times its weights, above the limit %s", alert->tensor(),
                                     Number(verdict.value), Number(max_ratio_)));
  alert->add_diagnosis(absl::StrFormat("The weights have norm %s, the update %s, the gradient %s before clipping.",
                                       Number(tensor.weight_norm), Number(tensor.update_norm), Number(tensor.l2_norm)));
  const double usual_norm = context.usual_norm();
  if (usual_norm > 0 && record.grad_norm > kLargeNorm * usual_norm) {
    alert->add_diagnosis(
        absl::StrFormat("The global gradient norm is %s, %s times its median: it is the gradient that "
                        "is large.",
                        Number(record.grad_norm), Number(record.grad_norm / usual_norm)));
    SuggestCures(record, verdict.tensor, context, alert);
    return;
  }
  if (!(verdict.value < kHopelessRatio)) {
    alert->add_diagnosis("Such an update replaces the weights: gradient and learning rate together are far too large.");
    SuggestCures(record, verdict.tensor, context, alert);
  } else if (record.learning_rate > 0) {
    alert->add_diagnosis(absl::StrFormat(
        "The learning rate %s is too high for this tensor: about %.1g would bring the ratio to %s.",
        Number(record.learning_rate), record.learning_rate * kHealthyRatio / verdict.value, Number(kHealthyRatio)));
  }
}

}  // namespace gradwatch::core
