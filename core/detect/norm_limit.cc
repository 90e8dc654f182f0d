#include "core/detect/norm_limit.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {

NormLimit::NormLimit(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_norm_(rule.norm_limit().max_norm()),
      per_tensor_(rule.norm_limit().per_tensor()),
      tensors_(MatchingTensors(rule, tensor_names)) {}

Verdict NormLimit::JudgeNorm(double norm, int64_t non_finite, int tensor) const {
  Verdict verdict;
  if (norm > max_norm_) {
    verdict.kind = Verdict::Kind::kHolds;
  } else if (non_finite == 0 && !std::isnan(norm)) {
    verdict.kind = Verdict::Kind::kQuiet;
  }
  verdict.value = norm;
  verdict.limit = max_norm_;
  verdict.tensor = tensor;
  return verdict;
}

Verdict NormLimit::Judge(const StepRecord& record) {
  if (!per_tensor_) return JudgeNorm(record.grad_norm, record.non_finite(), -1);
  Verdict worst;
  for (const int i : tensors_) {
    if (i >= static_cast<int>(record.tensors.size())) break;
    const TensorStatistics& tensor = record.tensors[i];
    const Verdict verdict = JudgeNorm(tensor.l2_norm, tensor.non_finite(), i);
    if (verdict.kind > worst.kind || (verdict.kind == worst.kind && verdict.value > worst.value)) worst = verdict;
  }
  return worst;
}

void NormLimit::Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                         v1::Alert* alert) const {
  const int tensor = per_tensor_ ? verdict.tensor : LargestTensor(record);
  alert->set_tensor(context.NameOf(tensor));
  alert->set_summary(absl::StrCat(
      "gradient norm ", Number(verdict.value), per_tensor_ ? absl::StrCat(" of ", alert->tensor()) : std::string(),
      " is above the limit ", Number(max_norm_), per_tensor_ ? std::string() : LargestIn(alert->tensor())));
  ExplainLargeGradient(record, tensor, context, alert);
  SuggestCures(record, tensor, context, alert);
}

}  // namespace gradwatch::core
