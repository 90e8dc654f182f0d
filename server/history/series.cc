#include "server/history/series.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/glob.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

// By JobSeries, and by TierGroup; the job's group has no word.
constexpr std::array<absl::string_view, kJobSeries> kJobWords = {
    "loss", "validation_loss", "grad_norm", "norm_after", "learning_rate", "threshold", "step_seconds", "non_finite"};
constexpr std::array<absl::string_view, kTierGroups> kGroupWords = {
    "",          "norm", "max_abs",       "update_ratio",    "mean",          "output_mean",      "output_variance",
    "saturated", "dead", "backward_norm", "backward_growth", "largest_logit", "attention_entropy"};

void AddJobFields(JobSeries series, ReportChoice* choice) {
  const FieldMask bad = ReportField("nan_count") | ReportField("pos_inf_count") | ReportField("neg_inf_count");
  switch (series) {
    case JobSeries::kLoss:
      choice->report |= ReportField("loss");
      return;
    case JobSeries::kValidationLoss:
      choice->validation |= ValidationField("loss");
      return;
    case JobSeries::kGradNorm:
      choice->report |= ReportField("grad_norm") | bad;
      return;
    case JobSeries::kNormAfter:
      choice->clip |= ClipField("norm_after");
      return;
    case JobSeries::kLearningRate:
      choice->report |= ReportField("learning_rate");
      return;
    case JobSeries::kThreshold:
      choice->clip |= ClipField("threshold");
      return;
    case JobSeries::kStepSeconds:
      choice->report |= ReportField("step_seconds");
      return;
    case JobSeries::kNonFinite:
      choice->report |= ReportField("loss") | bad;
      return;
  }
}

void AddTensorFields(TierGroup group, ReportChoice* choice) {
  const FieldMask bad = TensorField("nan_count") | TensorField("pos_inf_count") | TensorField("neg_inf_count");
  choice->tensor |= TensorField("tensor");
  switch (group) {
    case TierGroup::kTensorNorm:
      choice->tensor |= TensorField("l2_norm") | bad;
      return;
    case TierGroup::kTensorMaxAbs:
      choice->tensor |= TensorField("max_abs") | bad;
      return;
    case TierGroup::kTensorUpdateRatio:
      choice->tensor |= TensorField("update_norm") | TensorField("weight_norm");
      return;
    default:
      choice->tensor |= TensorField("mean") | bad;
      return;
  }
}

void AddLayerFields(TierGroup group, ReportChoice* choice) {
  choice->layer |= LayerField(kGroupWords[static_cast<size_t>(group)]);
  if (group == TierGroup::kLayerOutputMean || group == TierGroup::kLayerOutputVariance) {
    choice->layer |= LayerField("output_non_finite");
  }
}

// Every series that the job may have, in their order.
std::vector<Series> AllSeries(const SeriesNames& names) {
  std::vector<Series> all;
  for (uint32_t i = 0; i < kJobSeries; ++i) {
    all.push_back({.group = TierGroup::kJob, .index = i, .name = std::string(kJobWords[i])});
  }
  for (size_t group = 1; group < kTierGroups; ++group) {
    const bool is_tensors = IsOfTensors(static_cast<TierGroup>(group));
    const std::vector<std::string>& owners = is_tensors ? names.tensors : names.layers;
    for (uint32_t i = 0; i < owners.size(); ++i) {
      all.push_back({.group = static_cast<TierGroup>(group),
                     .index = i,
                     .name = absl::StrCat(is_tensors ? "tensor/" : "layer/", owners[i], "/", kGroupWords[group])});
    }
  }
  return all;
}

}  // namespace

absl::StatusOr<std::vector<Series>> FindSeries(const std::vector<std::string>& globs, const SeriesNames& names) {
  std::vector<Series> all = AllSeries(names);
  if (globs.empty()) {
    all.resize(kJobSeries);
    return all;
  }
  core::FieldErrors errors;
  std::vector<bool> wanted(all.size(), false);
  for (size_t glob = 0; glob < globs.size(); ++glob) {
    bool matches = false;
    for (size_t i = 0; i < all.size(); ++i) {
      if (!core::GlobMatches(globs[glob], all[i].name)) continue;
      wanted[i] = matches = true;
    }
    if (matches || names.tensors.empty()) continue;
    errors.Add(absl::StrCat("series[", glob, "]"), absl::StrCat("\"", globs[glob], "\" matches no series of the job"));
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  std::vector<Series> found;
  for (size_t i = 0; i < all.size(); ++i) {
    if (wanted[i]) found.push_back(std::move(all[i]));
  }
  return found;
}

ReportChoice ChoiceFor(absl::Span<const Series> series) {
  ReportChoice choice = ReportChoice::Nothing();
  for (const Series& one : series) {
    if (one.group == TierGroup::kJob) {
      AddJobFields(static_cast<JobSeries>(one.index), &choice);
    } else if (IsOfTensors(one.group)) {
      AddTensorFields(one.group, &choice);
      choice.tensors.resize(std::max<size_t>(choice.tensors.size(), one.index + 1), false);
      choice.tensors[one.index] = true;
    } else {
      AddLayerFields(one.group, &choice);
    }
  }
  return choice;
}

}  // namespace gradwatch::server
