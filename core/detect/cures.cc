#include "core/detect/cures.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/causes.h"
#include "core/detect/clip_words.h"
#include "core/detect/commands.h"
#include "core/detect/words.h"

namespace gradwatch::core {
namespace {

// An update of so many times the weights leaves nothing of them.
constexpr double kReplacingUpdate = 1;

// Threshold to suggest, in medians of the norm. Pascanu et al. 2013 name 0.5 to 10 times the average.
constexpr double kClipFactor = 5;
// What is suggested where no median is known, and from which norm on also where the rate is to blame: that is large for
// any network.
constexpr double kFirstThreshold = 1;
constexpr double kLargeForAny = 100;
constexpr double kRateFactor = 0.1;
// After an update that replaced the weights: the ratio to aim at for a start, as far as the rate is to blame.
constexpr double kRatioToStartWith = 0.1;
// Before so many steps nothing is learnt.
constexpr int64_t kFewSteps = 10;

// A line of advice: a cure, or what is to be known beside those around it.
struct Line {
  std::string remark;
  std::optional<Cure> cure = {};
};
using Advice = std::vector<Line>;

void AddRemark(std::string remark, Advice* advice) { advice->push_back({std::move(remark)}); }
void AddCure(Cure cure, Advice* advice) { advice->push_back({"", std::move(cure)}); }

// Puts advice into words.
void Tell(const Advice& advice, When when, v1::Alert* alert) {
  for (const Line& line : advice) {
    alert->add_diagnosis(line.cure.has_value() ? InWords(*line.cure, when, *alert) : line.remark);
  }
}

// The same of weights that are lost, which is told before the first cure.
void Tell(Advice advice, Weights weights, const StepRecord& record, v1::Alert* alert) {
  if (weights == Weights::kThere) return Tell(advice, When::kNow, alert);
  const auto first = absl::c_find_if(advice, [](const Line& line) { return line.cure.has_value(); });
  const char* gone =
      record.step < kFewSteps ? "The weights that it started from are gone" : "What the weights had learnt is gone";
  const char* end = first == advice.end() ? "." : " with these values in its spec.";
  std::string lost = absl::StrCat(gone, ", and no change of the running job brings it back: start the job again", end);
  advice.insert(first, Line{std::move(lost)});
  Tell(advice, When::kAtNewStart, alert);
}

void AdviseInputs(const RunSignals& signals, Advice* advice) {
  std::string cause = LargeInputInWords(signals);
  if (cause.empty()) return;
  AddRemark(std::move(cause), advice);
  AddCure({"inputs of a size near 1 at another start; the columns of a table", {.of = Change::Of::kInputScale}},
          advice);
}

// The largest norm that clipping would have had to do with: of this step or, where it has none, of the last ones with
// one. 0: there is none, so that clipping could not have helped.
double NormToClip(const StepRecord& record, int tensor, bool of_tensor, const RunSignals& signals) {
  const double norm = of_tensor ? record.tensors[static_cast<size_t>(tensor)].l2_norm : record.grad_norm;
  if (signals.finite() && std::isfinite(norm)) return norm;
  return signals.norms() > 0 ? std::exp(signals.recent_norm()) : 0;
}

// What the norm was while all was well, and in which words.
struct GoodNorm {
  double norm = 0;  // 0: not known
  std::string words;
};

// The median of what is usual now is not it where the norm has grown since the loss was best, nor where the run has
// never been well.
GoodNorm GoodNormOf(const RunSignals& signals) {
  const double usual = signals.usual_norm();
  if (!signals.settled() || !(usual > 0)) return {};
  const RunSignals::Best& best = signals.best();
  const double then = best.step >= 0 ? std::exp(best.norm) : usual;
  if (then >= usual) return {usual, absl::StrCat("median of ", Number(usual))};
  return {then, absl::StrFormat("median of %s when the loss was best, at step %d", Number(then), best.step)};
}

// Says what is in force and, where nothing limits the norm, what to try. `is_rate`: the rate is to blame. Whether there
// is something to try.
bool AdviseClipping(const StepRecord& record, int tensor, bool is_rate, const RunSignals& signals, Advice* advice) {
  const std::string& name = signals.NameOf(tensor);
  const std::string in_force = ClippingInForce(record.clip_in_force, tensor, name);
  if (!in_force.empty()) AddRemark(in_force, advice);
  const TensorClipping& clipping = record.clip_in_force.Of(tensor);
  if (IsLimited(clipping) || (!in_force.empty() && !clipping.own)) return false;
  const GoodNorm good = GoodNormOf(signals);
  const double threshold = good.norm > 0 ? kClipFactor * good.norm : kFirstThreshold;
  const std::string times =
      absl::StrFormat("%.0f times %s %s", kClipFactor, clipping.own ? "the global norm's" : "its", good.words);
  const double norm = NormToClip(record, tensor, clipping.own, signals);
  if (good.norm == 0 && is_rate && !(norm > kLargeForAny)) return false;
  if (!(norm > threshold)) {
    if (good.norm > 0 && signals.finite()) {
      AddRemark(absl::StrFormat("Clipping would not have changed this step: its norm, %s, is within %s.", Number(norm),
                                times),
                advice);
    }
    return false;
  }
  const std::string how = good.norm > 0 ? absl::StrFormat(" at %.2g, %s", threshold, times) : ", for a start at 1";
  if (clipping.own) {
    AddCure({absl::StrCat("limiting ", name, " by itself", how), {Change::Of::kTensorNorm, threshold, name}}, advice);
  } else {
    AddCure({absl::StrCat("clipping the global norm", how), {Change::Of::kGlobalNorm, threshold}}, advice);
  }
  return true;
}

// "a lower learning rate, for a start 0.05 instead of 0.5".
void AdviseRate(const StepRecord& record, double factor, absl::string_view condition, Advice* advice) {
  AddCure({absl::StrFormat("a %s learning rate%s, for a start %s instead of %s", factor < 1 ? "lower" : "higher",
                           condition, Number(factor * record.learning_rate), Number(record.learning_rate)),
           RateTimes(factor, record)},
          advice);
}

void AdviseLowerRate(const StepRecord& record, double factor, absl::string_view condition, const RunSignals& signals,
                     Advice* advice) {
  if (!(record.learning_rate > 0)) return;
  if (!RateWasRaised(record, signals)) return AdviseRate(record, factor, condition, advice);
  const RunSignals::Best& best = signals.best();
  AddRemark(absl::StrFormat("When the loss was best, at step %d, the learning rate was %s; it is %s now.", best.step,
                            Number(best.learning_rate), Number(record.learning_rate)),
            advice);
  if (signals.rate_rises()) {
    AddRemark(
        "And it is still rising: a scale takes from the rates to come only what it takes from this one. Lower the top "
        "of the schedule too (optimizer.learning_rate).",
        advice);
  }
  AdviseRate(record, best.learning_rate / record.learning_rate, "", advice);
}

// By what to lower the rate after the last update: where it replaced the weights, and no gradient larger than usual was
// the reason, that it was so many times too large is measured.
double FactorAfterUpdate(const StepRecord& record, const RunSignals& signals) {
  const auto update = RecentUpdate(record, signals);
  const bool is_measured = update.has_value() && std::isfinite(update->ratio) && update->ratio >= kReplacingUpdate;
  if (!is_measured || GradientBehind(*update, record, signals) > kRaisedNorm) return kRateFactor;
  return kRatioToStartWith / update->ratio;
}

void AdviseAnotherStart(const StepRecord& record, int tensor, const RunSignals& signals, Advice* advice) {
  if (IsRecurrentWeight(signals.NameOf(tensor))) {
    AddCure({"shorter sequences, or a start from recurrent weights that are an orthogonal matrix of a gain of at most "
             "1 (recurrent_init)"},
            advice);
  } else if (GrowthThroughDepth(record, signals).has_value()) {
    const auto weights = GrowthOfWeights(record, signals);  // which tell by how much a layer with weights does it
    const std::string smaller = weights.has_value() ? absl::StrCat(Number(weights->per_step), " times ") : "";
    AddCure({absl::StrCat("a start from weights that are ", smaller,
                          "smaller (gain in weight_init), so that no layer makes the gradient larger, or residual "
                          "blocks")},
            advice);
  }
}

Advice AdviceOn(const StepRecord& record, int tensor, const RunSignals& signals) {
  Advice advice;
  AdviseInputs(signals, &advice);
  const auto update = RecentUpdate(record, signals);
  // Before the first update no rate has done anything yet.
  const bool none_yet = record.step == 0 && !update.has_value();
  const bool is_rate = RateWasRaised(record, signals) || RateIsToBlame(record, signals);
  const double factor = FactorAfterUpdate(record, signals);
  if (is_rate) AdviseLowerRate(record, factor, "", signals, &advice);
  const bool clip = AdviseClipping(record, tensor, is_rate, signals, &advice);
  if (!is_rate && !none_yet) {
    const bool is_second = clip && !(update.has_value() && IsUnusualUpdate(*update, signals));
    AdviseLowerRate(record, factor, is_second ? " if that does not help" : "", signals, &advice);
  }
  AdviseAnotherStart(record, tensor, signals, &advice);
  return advice;
}

}  // namespace

Weights WeightsAfter(const StepRecord& record, const RunSignals& signals, double earlier_ratio) {
  const auto update = RecentUpdate(record, signals);
  const auto replaces = [](double ratio) { return !(ratio < kReplacingUpdate); };  // NaN too
  const bool replaced = replaces(earlier_ratio) || (update.has_value() && replaces(update->ratio));
  const bool broken =
      absl::c_any_of(record.tensors, [](const TensorStatistics& tensor) { return !std::isfinite(tensor.weight_norm); });
  return replaced || broken ? Weights::kLost : Weights::kThere;
}

void SuggestCures(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert, Weights weights) {
  Tell(AdviceOn(record, tensor, signals), weights, record, alert);
}

void SuggestScaledInputs(const RunSignals& signals, v1::Alert* alert) {
  Advice advice;
  AdviseInputs(signals, &advice);
  Tell(advice, When::kNow, alert);
}

void SuggestLowerRate(const StepRecord& record, double factor, const RunSignals& signals, v1::Alert* alert,
                      Weights weights) {
  Advice advice;
  AdviseLowerRate(record, factor, "", signals, &advice);
  Tell(std::move(advice), weights, record, alert);
}

void SuggestLowerRateOfAnotherStart(const StepRecord& record, double factor, const RunSignals& signals,
                                    v1::Alert* alert) {
  Advice advice;
  AdviseInputs(signals, &advice);
  AdviseLowerRate(record, factor, "", signals, &advice);
  Tell(advice, When::kAtNewStart, alert);
}

void SuggestHigherRate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  if (!RateWasLowered(record, signals)) return;
  Advice advice;
  AddRemark(absl::StrFormat("The learning rate was %s before; it is %s now.", Number(HighestRateBefore(signals)),
                            Number(record.learning_rate)),
            &advice);
  AdviseRate(record, 1 / kRateFactor, "", &advice);
  Tell(advice, When::kNow, alert);
}

}  // namespace gradwatch::core
