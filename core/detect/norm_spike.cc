#include "core/detect/norm_spike.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

// MAD times this is the standard deviation of a normal distribution.
constexpr double kDeviationOfMad = 1.4826;

}  // namespace

NormSpike::NormSpike(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_deviations_(rule.norm_spike().max_deviations()),
      outlier_deviations_(std::min(max_deviations_, std::max(3.0, max_deviations_ / 2))),
      min_deviation_(rule.norm_spike().min_deviation()),
      per_tensor_(rule.norm_spike().per_tensor()),
      tensors_(MatchingTensors(rule, tensor_names)) {
  const size_t count = per_tensor_ ? tensors_.size() : 1;
  histories_.reserve(count);
  for (size_t i = 0; i < count; ++i) histories_.emplace_back(rule.norm_spike().window(), kWarmUp);
}

int64_t NormSpike::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  const v1::NormSpikeCondition& spike = rule.norm_spike();
  const size_t count = spike.per_tensor() ? MatchingTensors(rule, tensor_names).size() : 1;
  return static_cast<int64_t>(count) * (static_cast<int64_t>(sizeof(History)) + History::Bytes(spike.window()));
}

Verdict NormSpike::JudgeNorm(double norm, int64_t non_finite, int tensor, History* history) const {
  Verdict verdict;
  if (non_finite > 0 || !std::isfinite(norm) || norm <= 0) return verdict;
  const double y = std::log(norm);
  if (!history->ready()) {
    history->Admit(y, false);
    return verdict;
  }
  const double median = history->usual().Median();
  const double deviation = std::max(kDeviationOfMad * history->usual().MedianDeviation(), min_deviation_);
  verdict.deviations = (y - median) / deviation;
  verdict.tensor = tensor;
  const bool holds = verdict.deviations > max_deviations_;
  verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  if (holds) {
    verdict.value = norm;
    verdict.limit = std::exp(median + max_deviations_ * deviation);
    verdict.usual = std::exp(median);
  }
  history->Admit(y, verdict.deviations > outlier_deviations_);
  return verdict;
}

Verdict NormSpike::Judge(const StepRecord& record) {
  if (!std::isfinite(record.loss)) return Verdict();
  if (!per_tensor_) return JudgeNorm(record.grad_norm, record.non_finite(), -1, &histories_[0]);
  Verdict worst;
  for (size_t i = 0; i < tensors_.size() && tensors_[i] < static_cast<int>(record.tensors.size()); ++i) {
    const TensorStatistics& tensor = record.tensors[tensors_[i]];
    const Verdict verdict = JudgeNorm(tensor.l2_norm, tensor.non_finite(), tensors_[i], &histories_[i]);
    const bool worse = verdict.kind == worst.kind && verdict.deviations > worst.deviations;
    if (verdict.kind > worst.kind || worse) worst = verdict;
  }
  return worst;
}

void NormSpike::Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                         v1::Alert* alert) const {
  const int tensor = per_tensor_ ? verdict.tensor : LargestTensor(record);
  alert->set_tensor(context.NameOf(tensor));
  alert->set_summary(absl::StrFormat("gradient norm %s%s is %.0f robust deviations above its median %s%s",
                                     Number(verdict.value), per_tensor_ ? absl::StrCat(" of ", alert->tensor()) : "",
                                     verdict.deviations, Number(verdict.usual),
                                     per_tensor_ ? "" : LargestIn(alert->tensor())));
  ExplainLargeGradient(record, tensor, context, alert);
  SuggestCures(record, tensor, context, alert);
}

}  // namespace gradwatch::core
