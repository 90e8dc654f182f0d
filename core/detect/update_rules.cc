#include "core/detect/update_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// A ratio to aim at when a lower rate is suggested; 0.001 to 0.01 is usual.
constexpr double kHealthyRatio = 0.01;
// An update that replaces the weights: no rate to suggest follows from it.
constexpr double kHopelessRatio = 10;
// A gradient norm this many times the median is why the update is large.
constexpr double kLargeNorm = 3;

// update_overshoot: the most that one ratio counts, so that the sum needs two steps; and what needs none: an update of
// e^2 times the weights leaves nothing of them, and a loss that is 10 times its start has not just begun to wander.
const double kMostRatio = std::log(4.0);
constexpr double kSmallestRatio = 1e-9;
constexpr double kReplacing = 2;
const double kFarAboveStart = std::log(10.0);

// update_growth: rises that are no accident; what share of the first half's growth the second has in a geometric ramp;
// steps without a rise that end one; what is a rise, in logarithms.
constexpr int kFewestRises = 8;
constexpr double kGeometricShare = 0.8;
constexpr int kFlatSteps = 3;
constexpr double kRise = 1e-6;
constexpr double kSmallestRate = 1e-38;

void ExplainLargeUpdate(const StepRecord& record, int tensor, double ratio, const RunSignals& signals, v1::Alert* alert,
                        Weights weights = Weights::kThere) {
  const TensorStatistics& statistics = record.tensors[tensor];
  alert->add_diagnosis(absl::StrFormat("The weights have norm %s, the update %s, the gradient %s before clipping.",
                                       Number(statistics.weight_norm), Number(statistics.update_norm),
                                       Number(statistics.l2_norm)));
  const double usual_norm = signals.usual_norm();
  const bool is_large = usual_norm > 0 && record.grad_norm > kLargeNorm * usual_norm;
  if (is_large && RateOutdoesClipping(record, tensor, signals)) {
    alert->add_diagnosis(
        absl::StrFormat("Clipping limits what comes of the gradient, whose global norm is %s: it is the learning rate "
                        "%s that is too high.",
                        Number(record.grad_norm), Number(record.learning_rate)));
    SuggestCures(record, tensor, signals, alert, weights);
  } else if (is_large) {
    alert->add_diagnosis(
        absl::StrFormat("The global gradient norm is %s, %s times its median: it is the gradient that is large.",
                        Number(record.grad_norm), Number(record.grad_norm / usual_norm)));
    SuggestCures(record, tensor, signals, alert, weights);
  } else if (!(ratio < kHopelessRatio)) {
    alert->add_diagnosis("Such an update replaces the weights: gradient and learning rate together are far too large.");
    SuggestCures(record, tensor, signals, alert, weights);
  } else if (record.learning_rate > 0 && ratio > kHealthyRatio) {
    alert->add_diagnosis(absl::StrFormat(
        "The learning rate %s is too high for this tensor: %s would bring the ratio to %s.",
        Number(record.learning_rate), Number(record.learning_rate * kHealthyRatio / ratio), Number(kHealthyRatio)));
    SuggestScaledInputs(signals, alert);
    SuggestLowerRate(record, kHealthyRatio / ratio, signals, alert, weights);
  }
}

// The same of one of an earlier step, whose gradient and norms are gone.
void ExplainEarlierUpdate(const StepRecord& record, const RunSignals::Update& update, const RunSignals& signals,
                          v1::Alert* alert, Weights weights) {
  if (!(update.ratio < kHopelessRatio)) {
    alert->add_diagnosis("Such an update replaces the weights: gradient and learning rate together are far too large.");
    SuggestCures(record, update.tensor, signals, alert, weights);
  } else {
    SuggestScaledInputs(signals, alert);
    SuggestLowerRate(record, kHealthyRatio / update.ratio, signals, alert, weights);
  }
}

// What is not finite is more than any.
double LogRatio(const RunSignals::Update& update) {
  return std::isfinite(update.ratio) ? std::log(std::max(update.ratio, kSmallestRatio)) : kInfinity;
}

}  // namespace

UpdateRatio::UpdateRatio(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_ratio_(rule.update_ratio().max_ratio()),
      tensors_(MatchingTensors(rule, tensor_names)),
      judged_(tensors_.size()) {}

int64_t UpdateRatio::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  return static_cast<int64_t>(MatchingTensors(rule, tensor_names).size()) * JudgedWeights::kBytesEach;
}

Verdict UpdateRatio::JudgeSkipped(const StepRecord& record) const {
  Verdict verdict;
  if (record.level != v1::STATISTICS_LEVEL_FULL) return verdict;
  for (const int i : tensors_) {
    if (i >= static_cast<int>(record.tensors.size()) || record.tensors[i].non_finite() == 0) continue;
    verdict.kind = Verdict::Kind::kHolds;
    verdict.value = kInfinity;
    verdict.limit = max_ratio_;
    verdict.tensor = i;
    return verdict;
  }
  return verdict;
}

Verdict UpdateRatio::Judge(const StepRecord& record, const RunSignals&) {
  Verdict worst;
  if (!UpdateWasMeasured(record)) return JudgeSkipped(record);
  worst.limit = max_ratio_;
  for (size_t i = 0; i < tensors_.size() && tensors_[i] < static_cast<int>(record.tensors.size()); ++i) {
    const TensorStatistics& tensor = record.tensors[tensors_[i]];
    if (!judged_.Judge(i, tensor.weight_norm, record.step) || !std::isfinite(tensor.weight_norm)) continue;
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

void UpdateRatio::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                           v1::Alert* alert) const {
  alert->set_tensor(signals.NameOf(verdict.tensor));
  if (!UpdateWasMeasured(record)) {
    alert->set_summary(
        absl::StrCat("the update of ", alert->tensor(), " was not made: its gradient is not finite, nor would it be"));
    SuggestCures(record, verdict.tensor, signals, alert);
    return;
  }
  alert->set_summary(absl::StrFormat("the update of %s is %s times its weights, above the limit %s", alert->tensor(),
                                     Number(verdict.value), Number(max_ratio_)));
  ExplainLargeUpdate(record, verdict.tensor, verdict.value, signals, alert);
}

Overshoot::Overshoot(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : limit_(rule.overshoot().max_log_product()), log_start_factor_(std::log(rule.overshoot().start_factor())) {
  static_cast<void>(tensor_names);
}

Verdict Overshoot::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  const RunSignals::Update& update = signals.last_update();
  if (!signals.finite() || update.step != record.step) return verdict;
  const double above = signals.loss() - signals.start_loss();
  // The update before is what this loss shows first.
  const RunSignals::Update before = last_.step + 1 == record.step ? last_ : RunSignals::Update();
  const double log_ratio = LogRatio(update), log_before = LogRatio(before);
  told_ = log_before > log_ratio ? before : update;
  last_ = update;
  if (above > log_start_factor_) {
    if (log_product_ == 0) log_product_ = std::clamp(log_before, 0.0, kMostRatio);
    log_product_ = std::max(0.0, log_product_ + std::min(kMostRatio, log_ratio));
  } else {
    log_product_ = 0;
  }
  if (above > kFarAboveStart && LogRatio(told_) >= kReplacing) log_product_ = std::max(log_product_, limit_);
  verdict.kind = log_product_ >= limit_ ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  verdict.value = std::exp(log_product_);
  verdict.limit = std::exp(limit_);
  verdict.tensor = told_.tensor;
  log_product_ = std::min(log_product_, 2 * limit_);
  return verdict;
}

void Overshoot::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  const RunSignals::Update& update = told_;
  alert->set_tensor(signals.NameOf(verdict.tensor));
  const bool is_present = update.step == record.step;
  const std::string which = is_present ? "this one is" : absl::StrCat("that of step ", update.step, " was");
  alert->set_summary(absl::StrFormat(
      "updates turn the weights over while the loss is broken: %s %s times %s, and the loss %s after a start of %s",
      which, Number(update.ratio), alert->tensor(), Number(record.loss), Number(signals.LossOf(signals.start_loss()))));
  const Weights weights = WeightsAfter(record, signals, update.ratio);
  if (is_present) {
    ExplainLargeUpdate(record, verdict.tensor, update.ratio, signals, alert, weights);
  } else {
    ExplainEarlierUpdate(record, update, signals, alert, weights);
  }
}

UpdateGrowth::UpdateGrowth(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : log_rate_factor_(std::log(rule.update_growth().rate_factor())),
      update_factor_(rule.update_growth().update_factor()) {
  static_cast<void>(tensor_names);
}

void UpdateGrowth::FollowRate(double rate, int64_t step, const RunSignals& signals) {
  const double log_rate = std::log(std::max(rate, kSmallestRate));
  if (has_rate_ && signals.top_rate() > 0 && log_rate > last_rate_ + kRise) {
    if (rises_ == 0) {
      rate_before_ = last_rate_;
      ratio_before_ = signals.usual_ratio();
      began_ = step;
    }
    if (rises_ < kMostRises) rates_[rises_] = log_rate;
    ++rises_;
    flat_ = 0;
  } else if (log_rate < last_rate_ - kRise || ++flat_ >= kFlatSteps) {
    rises_ = 0;
  }
  last_rate_ = log_rate;
  has_rate_ = true;
}

bool UpdateGrowth::IsGeometric() const {
  if (rises_ >= kMostRises) return was_geometric_;  // goes on as it has begun
  if (rises_ < kFewestRises) return false;
  const double middle = rates_[rises_ / 2 - 1];
  return last_rate_ - rate_before_ >= log_rate_factor_ &&
         last_rate_ - middle >= kGeometricShare * (middle - rate_before_);
}

Verdict UpdateGrowth::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  if (!signals.finite()) return verdict;
  FollowRate(record.learning_rate, record.step, signals);
  was_geometric_ = IsGeometric();
  if (std::isnan(signals.update_ratio())) return verdict;
  const double ratio = signals.ratios5().size() > 0 ? signals.ratios5().Median() : 0;
  const bool holds = was_geometric_ && ratio_before_ > 0 && ratio >= update_factor_ * ratio_before_;
  verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  verdict.value = ratio;
  verdict.limit = update_factor_ * ratio_before_;
  verdict.usual = ratio_before_;
  verdict.tensor = signals.last_update().tensor;
  return verdict;
}

void UpdateGrowth::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                            v1::Alert* alert) const {
  const double growth = last_rate_ - rate_before_;
  alert->set_tensor(signals.NameOf(verdict.tensor));
  alert->set_summary(absl::StrFormat(
      "the learning rate has risen to %s, %s times that of before step %d, and updates with it: from %s to %s of the "
      "weights; largest in %s",
      Number(record.learning_rate), Number(std::exp(growth)), began_, Number(verdict.usual), Number(verdict.value),
      alert->tensor()));
  alert->add_diagnosis(
      absl::StrFormat("At this pace the rate doubles every %.0f steps, and the run breaks sooner or later.",
                      std::max(1.0, rises_ * std::log(2.0) / growth)));
  SuggestLowerRate(record, std::exp(-growth), signals, alert);
}

FirstStep::FirstStep(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_update_ratio_(rule.first_step().max_update_ratio()),
      max_loss_factor_(rule.first_step().max_loss_factor()),
      max_input_scale_(rule.first_step().max_input_scale()) {
  static_cast<void>(tensor_names);
}

// The first loss is compared roughly, so that the spread of one batch of targets is enough.
double FirstStep::GuessingLoss(const RunFacts& facts) {
  return std::isnan(facts.guessing_loss) ? facts.rough_guessing_loss : facts.guessing_loss;
}

bool FirstStep::IsFarAboveGuessing(const StepRecord& record, const RunFacts& facts) const {
  const double guessing = GuessingLoss(facts);
  return std::isfinite(record.loss) && guessing > 0 && record.loss > max_loss_factor_ * guessing;
}

Verdict FirstStep::Judge(const StepRecord& record, const RunSignals& signals) {
  const RunFacts& facts = signals.facts();
  const RunSignals::Update& update = signals.last_update();
  Verdict verdict;
  if (signals.finite()) verdict.kind = Verdict::Kind::kQuiet;
  if (record.step > 0) {
    if (was_bad_) verdict = JudgeSince(signals);
    was_bad_ &= verdict.kind != Verdict::Kind::kQuiet;
    return verdict;
  }
  if (update.step == record.step && !(update.ratio < max_update_ratio_)) {
    verdict = {Verdict::Kind::kHolds, update.ratio, max_update_ratio_, update.tensor};
  } else if (IsFarAboveGuessing(record, facts)) {
    verdict = {Verdict::Kind::kHolds, record.loss, max_loss_factor_ * GuessingLoss(facts)};
  } else if (facts.input_scale > max_input_scale_) {  // may be why nothing of the step is finite
    verdict = {Verdict::Kind::kHolds, facts.input_scale, max_input_scale_};
  }
  was_bad_ = verdict.kind == Verdict::Kind::kHolds && verdict.tensor < 0;
  return verdict;
}

// A bad start is over when the loss has come down to where a good one would have begun, not because the first step is
// over. Not known: where guessing is not.
Verdict FirstStep::JudgeSince(const RunSignals& signals) const {
  Verdict verdict;
  const double limit = max_loss_factor_ * GuessingLoss(signals.facts());
  if (!signals.finite() || signals.losses() == 0) return verdict;
  const double loss = signals.LossOf(signals.losses10().Median());
  if (loss > limit) return {Verdict::Kind::kHolds, loss, limit};
  verdict.kind = Verdict::Kind::kQuiet;
  return verdict;
}

void FirstStep::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  const RunFacts& facts = signals.facts();
  const bool is_large_input = facts.input_scale > max_input_scale_;
  alert->set_tensor(signals.NameOf(verdict.tensor));
  std::vector<std::string> found;
  if (IsFarAboveGuessing(record, facts)) {
    const double guessing = GuessingLoss(facts);
    found.push_back(absl::StrFormat("the first loss is %s, %s times that of guessing, %s", Number(record.loss),
                                    Number(record.loss / guessing), Number(guessing)));
    if (!is_large_input) ExplainFirstLoss(facts, alert);
  }
  if (is_large_input) {
    found.push_back(absl::StrFormat("the input %s is as large as %s (root mean square)", facts.largest_input,
                                    Number(facts.input_scale)));
    alert->add_diagnosis(
        "Weights are drawn for inputs near 1: loss and gradients grow with an input, and the highest stable learning "
        "rate falls with its square. Scale the inputs (of a table: --set data.csv.standardize=true).");
  }
  if (verdict.tensor >= 0) {
    found.push_back(
        absl::StrFormat("the first update is %s times the weights of %s", Number(verdict.value), alert->tensor()));
    // A gradient that comes of the start says nothing about the rate.
    if (found.size() == 1) ExplainLargeUpdate(record, verdict.tensor, verdict.value, signals, alert);
  }
  alert->set_summary(absl::StrJoin(found, "; "));
}

// Inputs are ruled out where they are too small for it: the loss grows with their square.
void FirstStep::ExplainFirstLoss(const RunFacts& facts, v1::Alert* alert) const {
  std::string inputs = "inputs or ";  // not known
  if (!std::isnan(facts.input_scale)) {
    const bool is_small = facts.input_scale < std::sqrt(max_loss_factor_);
    inputs = is_small
                 ? ""
                 : absl::StrFormat("inputs (%s is as large as %s) or ", facts.largest_input, Number(facts.input_scale));
  }
  alert->add_diagnosis(
      absl::StrCat("Such a loss points to the start before the learning rate: the initialisation is too large, or ",
                   inputs, "targets are not scaled."));
  alert->add_diagnosis(
      "Try an initialisation that fits the activation (weight_init: {method: he} for ReLU, {method: xavier} for tanh), "
      "and inputs and targets near 1.");
}

}  // namespace gradwatch::core
