#include "core/detect/non_finite.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

struct Counts {
  int64_t nan = 0, pos_inf = 0, neg_inf = 0;
  int64_t total() const { return nan + pos_inf + neg_inf; }
};

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

// The first tensor from the input whose parameters are not finite; -1 if none is, or they were not measured.
int FirstBrokenWeight(const StepRecord& record) {
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    if (!std::isfinite(record.tensors[i].weight_norm)) return static_cast<int>(i);
  }
  return -1;
}

std::string Summary(const StepRecord& record, const Counts& counts) {
  std::string summary;
  if (!std::isfinite(record.loss)) summary = absl::StrCat("the loss is ", Number(record.loss));
  if (counts.total() > 0) {
    absl::StrAppend(&summary, summary.empty() ? "" : " and ", "the gradients hold ", InWords(counts));
  } else if (!std::isfinite(record.grad_norm)) {
    absl::StrAppend(&summary, summary.empty() ? "" : " and ", "the gradient norm is ", Number(record.grad_norm));
  }
  return summary;
}

void ExplainForwardBreak(const StepRecord& record, const RunContext& context, v1::Alert* alert) {
  alert->add_diagnosis(record.non_finite() > 0
                           ? "The forward pass broke, so every gradient behind it is broken too."
                           : "The forward pass broke, though no gradient did: outputs are too large for their loss to "
                             "be a number.");
  const RunContext::FiniteStep& last = context.last_finite();
  if (last.step < 0) return;
  alert->add_diagnosis(absl::StrFormat("On the last finite step, %d, the gradient norm was %s%s.", last.step,
                                       Number(last.grad_norm), LargestIn(context.NameOf(last.largest))));
}

}  // namespace

NonFinite::NonFinite(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : all_(rule.tensors().empty()), tensors_(MatchingTensors(rule, tensor_names)) {}

Verdict NonFinite::Judge(const StepRecord& record) {
  Counts counts;
  int last = -1;  // the affected tensor nearest the output
  const int measured = static_cast<int>(record.tensors.size());
  if (record.non_finite() > 0 || !all_) {
    for (const int i : tensors_) {
      if (i >= measured || record.tensors[i].non_finite() == 0) continue;
      last = i;
      counts.nan += record.tensors[i].nan_count;
      counts.pos_inf += record.tensors[i].pos_inf_count;
      counts.neg_inf += record.tensors[i].neg_inf_count;
    }
  }
  if (all_) counts = {record.nan_count, record.pos_inf_count, record.neg_inf_count};
  Verdict verdict;
  verdict.kind = Verdict::Kind::kHolds;
  verdict.tensor = last;
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

void NonFinite::Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                         v1::Alert* alert) const {
  int tensor = verdict.tensor;
  const int broken_weight = FirstBrokenWeight(record);
  if (broken_weight >= 0) {
    tensor = broken_weight;
    alert->add_diagnosis(absl::StrCat("The parameters of ", context.NameOf(tensor),
                                      " are not finite: an update before this step has broken them, and only an "
                                      "earlier state of the parameters can save the run."));
  } else if (!std::isfinite(record.loss)) {
    tensor = context.last_finite().largest;
    ExplainForwardBreak(record, context, alert);
  } else if (tensor >= 0) {
    alert->add_diagnosis(absl::StrCat(
        "The loss is finite, so it broke on the way back from the output to the input: ", context.NameOf(tensor),
        " is the broken tensor nearest the output, and what lies behind it on the way follows."));
  }
  alert->set_tensor(context.NameOf(tensor));
  const Counts counts = {record.nan_count, record.pos_inf_count, record.neg_inf_count};
  alert->set_summary(absl::StrCat(Summary(record, counts),
                                  alert->tensor().empty() ? "" : absl::StrCat("; look at ", alert->tensor())));
  ExplainLastUpdate(record, context, alert);
  SuggestCures(record, tensor, context, alert);
}

}  // namespace gradwatch::core
