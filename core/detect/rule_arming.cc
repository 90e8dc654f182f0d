// From when on rules can fire, and why some cannot.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/glob.h"
#include "core/detect/detector.h"
#include "core/detect/loss_rules.h"
#include "core/detect/norm_rules.h"
#include "core/detect/run_signals.h"

namespace gradwatch::core {
namespace {

// What a condition must have seen before it judges.
struct WarmUp {
  int64_t steps = 0;
  // Kept in RunSignals, which outlive the rules; else by the rule itself.
  bool shared = false;
};

// Of one that has a window of its own, or stands on the shared one.
WarmUp OfWindow(int window, bool shared) { return {std::min(window, RunSignals::kUsualWarmUp), shared}; }

WarmUp WarmUpOf(const v1::Rule& rule) {
  switch (rule.condition_case()) {
    case v1::Rule::kNormSpike:
      return OfWindow(rule.norm_spike().window(), NormSpike::IsShared(rule));
    case v1::Rule::kLossJump:
      return OfWindow(rule.loss_jump().window(), LossJump::IsShared(rule));
    case v1::Rule::kLossDivergence:
      return {.steps = 5};  // a loss counts 1 at most, and the lowest limit is 5
    case v1::Rule::kLossCollapse:
      return {.steps = 30, .shared = true};
    case v1::Rule::kNormGrowth:
      return {.steps = 3};
    case v1::Rule::kJointGrowth:
      return {.steps = 49, .shared = true};
    case v1::Rule::kOvershoot:
      return {.steps = 1};
    case v1::Rule::kUpdateGrowth:
      return {.steps = 28};  // 20 to see that the warm-up of the rate is over, and 8 rises
    case v1::Rule::kSeries:
      return {rule.series().baseline() == v1::SeriesCondition::BASELINE_UNSPECIFIED ? 0 : rule.series().warm_up()};
    case v1::Rule::kDrift:
      return {rule.drift().baseline_steps()};
    case v1::Rule::kNoProgress:
      return {rule.no_progress().window() - 1};
    case v1::Rule::kClipping:
      return {rule.clipping().window() - 1};
    default:
      return {};
  }
}

// The lowest level at which the condition has anything to judge.
v1::StatisticsLevel LevelNeeded(const v1::Rule& rule) {
  switch (rule.condition_case()) {
    case v1::Rule::kUpdateRatio:
    case v1::Rule::kVanishing:
    case v1::Rule::kOvershoot:
    case v1::Rule::kUpdateGrowth:
      return v1::STATISTICS_LEVEL_FULL;
    case v1::Rule::kSeries:
      return rule.series().series() == v1::SeriesCondition::SERIES_UPDATE_RATIO ? v1::STATISTICS_LEVEL_FULL
                                                                                : v1::STATISTICS_LEVEL_NONE;
    case v1::Rule::kFrozen:  // gradients that are zero; updates at level FULL only
      return v1::STATISTICS_LEVEL_NORM;
    default:
      break;
  }
  const bool single_tensors =
      rule.norm_limit().per_tensor() || rule.norm_spike().per_tensor() || !rule.tensors().empty();
  return single_tensors ? v1::STATISTICS_LEVEL_NORM : v1::STATISTICS_LEVEL_NONE;
}

std::string NameOf(v1::StatisticsLevel level) {
  return std::string(absl::StripPrefix(v1::StatisticsLevel_Name(level), "STATISTICS_LEVEL_"));
}

// By what Controls.layer_statistics measures.
bool JudgesLayers(const v1::Rule& rule) { return rule.has_growth() || rule.has_saturation() || rule.has_attention(); }

v1::StatisticsLevel LevelMeasured(const v1::Controls& controls) {
  return controls.statistics() == v1::STATISTICS_LEVEL_UNSPECIFIED ? v1::STATISTICS_LEVEL_FULL : controls.statistics();
}

// "needs statistics level FULL, the job measures NORM".
std::string LevelText(v1::StatisticsLevel needed, const v1::Controls& controls) {
  return absl::StrCat("needs statistics level ", NameOf(needed), ", the job measures ",
                      NameOf(LevelMeasured(controls)));
}

// What of a condition that can judge is left out where updates are not measured.
std::string WhyInPart(const v1::Rule& rule, const v1::Controls& controls) {
  if (LevelMeasured(controls) >= v1::STATISTICS_LEVEL_FULL) return "";
  const bool looks_at_updates =
      rule.has_first_step() || rule.has_joint_growth() || rule.has_frozen() || rule.has_loss_divergence();
  return looks_at_updates ? absl::StrCat("updates are left out: that ", LevelText(v1::STATISTICS_LEVEL_FULL, controls))
                          : "";
}

// Empty: it can judge.
std::string WhyUnable(const v1::Rule& rule, const v1::Controls& controls, int64_t from_step) {
  if (JudgesLayers(rule) && !controls.layer_statistics()) {
    return "needs layer_statistics, which is off";
  }
  if (rule.has_first_step() && from_step > 0) return "judges step 0 and no other, and the job is beyond it";
  const v1::StatisticsLevel needed = LevelNeeded(rule);
  return LevelMeasured(controls) >= needed ? "" : LevelText(needed, controls);
}

// Steps on which it must have held before the one on which it fires.
int64_t HoldsBefore(const v1::Rule& rule) { return std::max(rule.for_steps(), 1) - 1; }

// Since when what it cannot do without is measured.
int64_t MeasuredFrom(const v1::Rule& rule, const RuleSince& since) {
  if (JudgesLayers(rule)) return since.layers;
  const v1::StatisticsLevel needed = LevelNeeded(rule);
  if (needed == v1::STATISTICS_LEVEL_FULL) return since.updates;
  return needed == v1::STATISTICS_LEVEL_NORM ? since.norms : 0;
}

// How many steps there are from one that it judges to the next.
int64_t JudgesEvery(const v1::Rule& rule, const v1::Controls& controls) {
  return JudgesLayers(rule) ? std::max(controls.report_every(), 1) : 1;
}

}  // namespace

int64_t ArmedAfter(const v1::Rule& rule) { return WarmUpOf(rule).steps + HoldsBefore(rule); }

void DescribeArming(const v1::Controls& controls, const RuleSince& since, v1::Rule* rule) {
  rule->clear_armed_at();
  rule->set_unable(WhyUnable(*rule, controls, since.judged));
  if (rule->has_stall() || !rule->unable().empty()) return;
  const WarmUp warm_up = WarmUpOf(*rule);
  const int64_t sees_from = std::max(since.judged, MeasuredFrom(*rule, since));
  const int64_t judges_from = warm_up.shared ? std::max(sees_from, warm_up.steps) : sees_from + warm_up.steps;
  const int64_t every = JudgesEvery(*rule, controls);
  const int64_t first = (std::max(judges_from, since.counted) + every - 1) / every * every;
  rule->set_armed_at(first + HoldsBefore(*rule) * every);
  rule->set_unable(WhyInPart(*rule, controls));
}

void DescribeMatches(const std::vector<std::string>& tensor_names, v1::RuleSet* rules) {
  for (v1::Rule& rule : *rules->mutable_rules()) {
    if (rule.tensors().empty() || !rule.has_armed_at()) continue;
    const bool matches = std::any_of(tensor_names.begin(), tensor_names.end(),
                                     [&](const std::string& name) { return GlobMatches(rule.tensors(), name); });
    if (matches) continue;
    rule.clear_armed_at();
    rule.set_unable(absl::StrCat("no tensor matches ", rule.tensors()));
  }
}

}  // namespace gradwatch::core
