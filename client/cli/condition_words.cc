#include "client/cli/condition_words.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/text.h"

namespace gradwatch::cli {
namespace {

std::string Number(double value) { return NumberText(value); }
std::string Times(double factor) { return absl::StrCat("x", NumberText(factor)); }
std::string Percent(double share) { return absl::StrCat(NumberText(100 * share), "%"); }
const char* Norm(bool per_tensor) { return per_tensor ? "norm of a tensor" : "norm"; }
std::string Deviations(double count) { return absl::StrCat(NumberText(count), " deviations"); }

std::string Words(const v1::NormLimitCondition& c) {
  return absl::StrCat(Norm(c.per_tensor()), " above ", Number(c.max_norm()));
}

// The floor of the deviation is a factor, at least that large.
std::string Words(const v1::NormSpikeCondition& c) {
  return absl::StrCat(Norm(c.per_tensor()), " above ", Times(std::exp(c.max_deviations() * c.min_deviation())),
                      " its median of ", c.window(), " steps, by ", Deviations(c.max_deviations()),
                      c.start_factor() > 0 && !c.per_tensor()
                          ? absl::StrCat(", and above ", Times(c.start_factor()), " its first ones")
                          : std::string());
}

std::string Words(const v1::LossJumpCondition& c) {
  std::string words = absl::StrCat("loss above ", Times(c.factor()), " its median of ", c.window(), " steps");
  if (c.max_deviations() > 0) absl::StrAppend(&words, ", by ", Deviations(c.max_deviations()));
  if (c.has_norm_factor()) absl::StrAppend(&words, ", with a norm above ", Times(c.norm_factor()), " its usual");
  return words;
}

std::string Words(const v1::UpdateRatioCondition& c) {
  return absl::StrCat("update of a tensor above ", Times(c.max_ratio()), " its weights");
}

std::string Words(const v1::DriftCondition& c) {
  return absl::StrCat("norm drifts up: over ", Deviations(c.slack()), " a step, summed above ", Number(c.limit()),
                      ", from its first ", c.baseline_steps(), " steps");
}

std::string Words(const v1::VanishingCondition& c) {
  return absl::StrCat("mean magnitude of a tensor's gradient below ", Number(c.min_mean_abs()));
}

std::string Words(const v1::GrowthCondition& c) {
  return absl::StrCat("gradient of a layer's output above ", Times(c.max_growth()), " that of the network's");
}

std::string Words(const v1::StallCondition& c) {
  return c.has_seconds() ? absl::StrCat("no step for ", Number(c.seconds()), " s")
                         : "no step for 30 s and ten median steps";
}

std::string Words(const v1::LossDivergenceCondition& c) {
  return absl::StrCat("loss stays above ", Times(c.factor()), " its best, by ", Deviations(c.max_deviations()),
                      ", and early above ", Times(c.start_factor()), " its start");
}

// The second way asks for half of the factor, in logarithms, and a quarter of the noise.
std::string Words(const v1::LossCollapseCondition& c) {
  return absl::StrCat("loss of 30 steps above ", Times(c.factor()), " its best, by ", Deviations(c.max_deviations()),
                      ", and back above ", Percent(c.start_share()), " of its start; or so for 200 steps above ",
                      Times(std::sqrt(c.factor())), ", by ", Deviations(c.max_deviations() / 4),
                      ", and nearer its start than its best");
}

std::string Words(const v1::NormGrowthCondition& c) {
  return absl::StrCat("norm of 10 steps above ", Times(c.factor()), " its lowest, or doubled 3 times in a row to ",
                      Times(c.factor()), " its largest");
}

std::string Words(const v1::JointGrowthCondition& c) {
  return absl::StrCat("against when the loss was best: loss ", Times(c.loss_factor()), " with norm ",
                      Times(c.norm_factor()), ", or loss ", Times(c.update_loss_factor()), " with updates ",
                      Times(c.update_factor()));
}

std::string Words(const v1::FirstStepCondition& c) {
  return absl::StrCat("on step 0: update above ", Times(c.max_update_ratio()), " its weights, loss above ",
                      Times(c.max_loss_factor()), " that of guessing, or an input above ", Number(c.max_input_scale()));
}

std::string Words(const v1::OvershootCondition& c) {
  return absl::StrCat("updates multiply up to ", Times(std::exp(c.max_log_product())),
                      " the weights while the loss is above ", Times(c.start_factor()), " its start, or one is ",
                      Times(std::exp(2)), " them while it is above ", Times(10));
}

std::string Words(const v1::UpdateGrowthCondition& c) {
  return absl::StrCat("learning rate rises steadily to ", Times(c.rate_factor()), ", and updates to ",
                      Times(c.update_factor()));
}

std::string Words(const v1::NoProgressCondition& c) {
  return absl::StrCat("loss down by no more than ", Percent(c.min_gain()), " over ", c.window(), " steps");
}

// 1: no limit.
std::string Words(const v1::SaturationCondition& c) {
  std::vector<std::string> parts;
  if (c.max_saturated() < 1) parts.push_back(absl::StrCat("above ", Percent(c.max_saturated()), " saturated"));
  if (c.max_dead() < 1) parts.push_back(absl::StrCat("above ", Percent(c.max_dead()), " dead"));
  return parts.empty() ? "units of a layer: no limit" : absl::StrCat("units of a layer ", absl::StrJoin(parts, " or "));
}

std::string Words(const v1::FrozenCondition& c) {
  if (c.max_share() == 0) return "gradient or update of a tensor all zero";
  return absl::StrCat("gradient or update all zero in above ", Percent(c.max_share()), " of the tensors");
}

std::string Words(const v1::ClippingCondition& c) {
  return absl::StrCat("norm of ", c.window(), " steps above ", Times(c.factor()), " that after clipping, and ",
                      Times(c.growth_factor()), " what it was");
}

std::string Words(const v1::AttentionCondition& c) {
  std::string words = absl::StrCat("logit of an attention above ", Number(c.max_logit()));
  if (c.min_entropy() > 0) absl::StrAppend(&words, ", or entropy below ", Number(c.min_entropy()));
  return words;
}

const char* Name(v1::SeriesCondition::Series series) {
  switch (series) {
    case v1::SeriesCondition::SERIES_GRAD_NORM:
      return "norm";
    case v1::SeriesCondition::SERIES_UPDATE_RATIO:
      return "largest update against its weights";
    default:
      return "loss";
  }
}

std::string Baseline(const v1::SeriesCondition& c) {
  switch (c.baseline()) {
    case v1::SeriesCondition::BASELINE_MEAN:
      return absl::StrCat("its mean of ", c.window(), " steps");
    case v1::SeriesCondition::BASELINE_MOVING:
      return absl::StrCat("its moving mean of ", c.window(), " steps");
    case v1::SeriesCondition::BASELINE_FIRST_LARGEST:
      return absl::StrCat("the largest of its first ", c.window());
    default:
      return "its lowest";
  }
}

std::string Words(const v1::SeriesCondition& c) {
  // A limit that no finite value is above.
  const bool only_finite = c.has_limit() && c.limit() == std::numeric_limits<double>::max();
  std::vector<std::string> limits;
  if (c.has_factor()) limits.push_back(absl::StrCat("above ", Times(c.factor()), " ", Baseline(c)));
  if (c.has_max_deviations()) limits.push_back(absl::StrCat(Deviations(c.max_deviations()), " above ", Baseline(c)));
  if (c.has_limit()) limits.push_back(only_finite ? "not finite" : absl::StrCat("above ", Number(c.limit())));
  return absl::StrCat(Name(c.series()), " ", absl::StrJoin(limits, " and "),
                      c.keep_out() ? ", outliers kept out of it" : "");
}

}  // namespace

std::string ConditionWords(const v1::Rule& rule) {
  switch (rule.condition_case()) {
    case v1::Rule::kNonFinite:
      return "NaN or infinity in the loss or a gradient";
    case v1::Rule::kNormLimit:
      return Words(rule.norm_limit());
    case v1::Rule::kNormSpike:
      return Words(rule.norm_spike());
    case v1::Rule::kLossJump:
      return Words(rule.loss_jump());
    case v1::Rule::kUpdateRatio:
      return Words(rule.update_ratio());
    case v1::Rule::kDrift:
      return Words(rule.drift());
    case v1::Rule::kVanishing:
      return Words(rule.vanishing());
    case v1::Rule::kGrowth:
      return Words(rule.growth());
    case v1::Rule::kStall:
      return Words(rule.stall());
    case v1::Rule::kLossDivergence:
      return Words(rule.loss_divergence());
    case v1::Rule::kLossCollapse:
      return Words(rule.loss_collapse());
    case v1::Rule::kNormGrowth:
      return Words(rule.norm_growth());
    case v1::Rule::kJointGrowth:
      return Words(rule.joint_growth());
    case v1::Rule::kFirstStep:
      return Words(rule.first_step());
    case v1::Rule::kOvershoot:
      return Words(rule.overshoot());
    case v1::Rule::kUpdateGrowth:
      return Words(rule.update_growth());
    case v1::Rule::kNoProgress:
      return Words(rule.no_progress());
    case v1::Rule::kSaturation:
      return Words(rule.saturation());
    case v1::Rule::kFrozen:
      return Words(rule.frozen());
    case v1::Rule::kClipping:
      return Words(rule.clipping());
    case v1::Rule::kSeries:
      return Words(rule.series());
    case v1::Rule::kAttention:
      return Words(rule.attention());
    case v1::Rule::CONDITION_NOT_SET:
      break;
  }
  return "";
}

}  // namespace gradwatch::cli
