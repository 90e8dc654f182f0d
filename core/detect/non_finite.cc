#include "core/detect/non_finite.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

using Counts = NonFiniteCounts;

// What stands for the counts where one number is asked for.
double ValueOf(const Counts& counts) {
  if (counts.nan > 0) return std::numeric_limits<double>::quiet_NaN();
  return counts.pos_inf > 0 ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
}

std::string InWords(const Counts& counts) {
  std::vector<std::string> parts;
  if (counts.nan > 0) parts.push_back(absl::StrCat(counts.nan, " NaN"));
  if (counts.pos_inf > 0) parts.push_back(absl::StrCat(counts.pos_inf, " +Inf"));
  if (counts.neg_inf > 0) parts.push_back(absl::StrCat(counts.neg_inf, " -Inf"));
  return absl::StrJoin(parts, ", ");
}

// The first of these tensors from the input whose parameters are not finite; -1 if none is, or they were not measured.
int FirstBrokenWeight(const StepRecord& record, const std::vector<int>& tensors) {
  for (const int i : tensors) {
    if (i < static_cast<int>(record.tensors.size()) && !std::isfinite(record.tensors[i].weight_norm)) return i;
  }
  return -1;
}

void ExplainForwardBreak(const StepRecord& record, const RunSignals& signals, int largest, v1::Alert* alert) {
  alert->add_diagnosis(record.non_finite() > 0
                           ? "The forward pass broke, so every gradient behind it is broken too."
                           : "The forward pass broke, though no gradient did: outputs are too large for their loss to "
                             "be a number.");
  const RunSignals::FiniteStep& last = signals.last_finite();
  if (last.step < 0) return;
  alert->add_diagnosis(absl::StrFormat("On the last finite step, %d, the gradient norm was %s%s.", last.step,
                                       Number(last.grad_norm), LargestIn(signals.NameOf(largest))));
}

}  // namespace

NonFinite::NonFinite(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : all_(rule.tensors().empty()), tensors_(MatchingTensors(rule, tensor_names)) {}

NonFiniteCounts NonFinite::Count(const StepRecord& record) const {
  Counts counts;
  if (record.non_finite() == 0 && all_) return counts;
  for (const int i : tensors_) {
    if (i >= static_cast<int>(record.tensors.size()) || record.tensors[i].non_finite() == 0) continue;
    counts.nearest_output = i;
    counts.nan += record.tensors[i].nan_count;
    counts.pos_inf += record.tensors[i].pos_inf_count;
    counts.neg_inf += record.tensors[i].neg_inf_count;
  }
  // Those of single tensors may not be known.
  if (all_) counts = {record.nan_count, record.pos_inf_count, record.neg_inf_count, counts.nearest_output};
  return counts;
}

Verdict NonFinite::Judge(const StepRecord& record, const RunSignals& /*signals*/) {
  const Counts counts = Count(record);
  Verdict verdict;
  verdict.kind = Verdict::Kind::kHolds;
  verdict.tensor = counts.nearest_output;
  if (all_ && !std::isfinite(record.loss)) {
    verdict.value = record.loss;
  } else if (counts.total() > 0) {
    verdict.value = ValueOf(counts);
  } else if (all_ && !std::isfinite(record.grad_norm)) {
    verdict.value = record.grad_norm;
  } else {
    verdict.kind = Verdict::Kind::kQuiet;
  }
  return verdict;
}

std::string NonFinite::Summary(const StepRecord& record) const {
  const Counts counts = Count(record);
  std::string summary;
  if (all_ && !std::isfinite(record.loss)) summary = absl::StrCat("the loss is ", Number(record.loss));
  if (counts.total() > 0) {
    absl::StrAppend(&summary, summary.empty() ? "" : " and ",
                    all_ ? "the gradients" : "gradients of this rule's tensors", " hold ", InWords(counts));
  } else if (!std::isfinite(record.grad_norm)) {
    absl::StrAppend(&summary, summary.empty() ? "" : " and ", "the gradient norm is ", Number(record.grad_norm));
  }
  return summary;
}

bool NonFinite::Watches(int tensor) const { return std::binary_search(tensors_.begin(), tensors_.end(), tensor); }

void NonFinite::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  int tensor = verdict.tensor;
  if (const int broken = FirstBrokenWeight(record, tensors_); broken >= 0) {
    tensor = broken;
    alert->add_diagnosis(absl::StrCat("The parameters of ", signals.NameOf(tensor),
                                      " are not finite: an update before this step has broken them."));
  } else if (!std::isfinite(record.loss)) {
    const int largest = Watches(signals.last_finite().largest) ? signals.last_finite().largest : -1;
    if (all_ || largest >= 0) tensor = largest;
    ExplainForwardBreak(record, signals, largest, alert);
  } else if (tensor >= 0) {
    alert->add_diagnosis(absl::StrCat(
        "The loss is finite, so it broke on the way back from the output to the input: ", signals.NameOf(tensor),
        " is the broken tensor nearest the output", all_ ? "" : " of those that this rule looks at",
        ", and what lies behind it on the way follows."));
  }
  alert->set_tensor(signals.NameOf(tensor));
  alert->set_summary(
      absl::StrCat(Summary(record), alert->tensor().empty() ? "" : absl::StrCat("; look at ", alert->tensor())));
  ExplainLastUpdate(record, signals, alert);
  ExplainRise(record, signals, alert);
  SuggestCures(record, tensor, signals, alert, WeightsAfter(record, signals));
}

}  // namespace gradwatch::core
