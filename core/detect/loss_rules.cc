#include "core/detect/loss_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

// Against losses that are constant to the last digit.
constexpr double kSmallestDeviation = 1e-3;
// A gradient norm this many times the median goes with the jump of the loss.
constexpr double kLargeNorm = 3;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// loss_divergence: a step counts 1 at most, so these are steps far above. A catapult of three is silent.
constexpr double kLimit = 4;
constexpr double kBrokenLimit = 5;
// The loss is falling back if it is this factor below its highest of the last 20 steps since it went above.
const double kFallingBack = std::log(1.3);
// Updates of this ratio replace the weights within a few steps.
constexpr double kTurningOver = 0.2;
// The loss never recovered: it stays for this many steps above this factor of its start, or above the second one where
// updates are so small that the loss may be settling by itself.
constexpr int kNeverSteps = 30;
// The noise of single losses moves the reference of loss_collapse by this factor at most: that thirty losses have none.
const double kMostNoiseOfCollapse = std::log(10.0);
// A loss below this share of its start is learnt, whatever it does from there; what single steps do is of no interest
// even earlier: there the losses of healthy classifiers scatter.
const double kLearnt = std::log(1e-3);
const double kLearntForJumps = std::log(1e-2);
const double kNeverFactor = std::log(2.0);
const double kNeverFactorSettling = std::log(10.0);
constexpr double kSettlingRatio = 0.01;
const double kHalf = std::log(2.0);
// Of the rate that lost it, for another start.
constexpr double kLowerRate = 0.1;
// A loss this many times its start is not back there: it is worse.
constexpr double kWorseThanStart = 1.5;

// joint_growth: deviations beyond which a median is no noise.
constexpr int kWitnesses = 50;
constexpr double kNormDeviations = 4;
constexpr double kUpdateLossDeviations = 2.5;
// Updates below this share of the weights harm nobody.
constexpr double kSmallestRatio = 0.003;

// Where a share p of the losses is above the reference by chance, as hard examples among easy ones are, a sum that such
// a loss raises by 1 and any other lowers by 1 gets from 0 to h with a probability of (p / (1 - p))^h (the gambler's
// ruin): below this one it is no chance. More than kMostLimit is never asked for.
constexpr double kChance = 1e-6;
constexpr double kMostLimit = 16;
double LimitOfSum(double share) {
  if (share <= 0) return kLimit;
  const double steps = share < 0.5 ? std::log(kChance) / std::log(share / (1 - share)) : kMostLimit;
  return std::clamp(steps, kLimit, kMostLimit);
}

// The share of n losses, at least half, that is above where a share p usually is with a probability of kChanceOfMedians
// at most (Chernoff's bound): the divergence of Kullback and Leibler between the shares is ln(1 / probability) / n.
constexpr double kChanceOfMedians = 1e-5;
double UnusualShare(double share, int n) {
  const double least = -std::log(kChanceOfMedians) / n;
  const auto divergence = [share](double a) {
    return a * std::log(a / share) + (1 - a) * std::log((1 - a) / (1 - share));
  };
  double a = 0.5;
  while (share > 0 && a < 1 && (a <= share || divergence(a) < least)) a += 1.0 / n;
  return std::min(a, 1.0);
}

// Whether more of the window is above the limit than is usual.
bool IsUnusual(const SortedWindow& losses, double limit, const UsualShare& above) {
  return losses.Median() > limit && losses.Quantile(1 - UnusualShare(above.value(), losses.size())) > limit;
}

void AddClamped(double excess, double limit, double* sum) {
  *sum = std::clamp(*sum + std::clamp(excess, -1.0, 1.0), 0.0, 2 * limit);
}

Verdict Quiet() {
  Verdict verdict;
  verdict.kind = Verdict::Kind::kQuiet;
  return verdict;
}

void DescribeBest(const RunSignals& signals, v1::Alert* alert) {
  const RunSignals::Best& best = signals.best();
  if (best.step < 0 || best.loss > signals.start_loss()) return;
  const std::string what = best.losses < signals.losses50().capacity()
                               ? absl::StrFormat("the first %d steps", best.losses)
                               : absl::StrFormat("50 steps up to step %d", best.step);
  alert->add_diagnosis(
      absl::StrCat("The best loss was ", Number(signals.LossOf(best.loss)), ", the median of ", what, "."));
}

// What the norm and the updates do at this step, where they say something.
void DescribeWitnesses(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const double usual = signals.usual_norm();
  if (usual > 0 && record.grad_norm > kLargeNorm * usual) {
    alert->add_diagnosis(absl::StrFormat("The gradient norm is %s, %s times its median%s.", Number(record.grad_norm),
                                         Number(record.grad_norm / usual),
                                         LargestIn(signals.NameOf(LargestTensor(record)))));
  }
}

}  // namespace

bool LossJump::IsShared(const v1::Rule& rule) {
  // Where its outliers are those of the run too.
  const v1::LossJumpCondition& jump = rule.loss_jump();
  return jump.window() == RunSignals::kUsualWindow && jump.factor() >= 3 && jump.max_deviations() >= 4;
}

LossJump::LossJump(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : log_factor_(std::log(rule.loss_jump().factor())),
      max_deviations_(rule.loss_jump().max_deviations()),
      log_norm_factor_(rule.loss_jump().has_norm_factor() ? std::log(rule.loss_jump().norm_factor()) : 0),
      shared_(IsShared(rule)),
      history_(shared_ ? 1 : rule.loss_jump().window(), kWarmUp) {
  static_cast<void>(tensor_names);
}

int64_t LossJump::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>&) {
  return History::Bytes(IsShared(rule) ? 1 : rule.loss_jump().window());
}

bool LossJump::NormIsLarge(const RunSignals& signals) const {
  if (log_norm_factor_ == 0) return true;
  const double usual = signals.usual_norm();
  return usual > 0 && signals.norms() > 0 && signals.recent_norm() > std::log(usual) + log_norm_factor_;
}

void LossJump::Admit(double loss, bool outlier, const RunSignals& signals) {
  if (shared_) return;
  if (era_ != signals.loss_era()) history_.Clear();
  era_ = signals.loss_era();
  history_.Admit(loss, outlier);
}

Verdict LossJump::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  if (record.loss == kInfinity) {
    verdict.kind = Verdict::Kind::kHolds;
    verdict.value = verdict.limit = kInfinity;
    return verdict;
  }
  if (!signals.finite()) return verdict;
  const History& history = shared_ ? signals.usual_losses() : history_;
  if (!history.ready() || (!shared_ && era_ != signals.loss_era())) {
    Admit(signals.loss(), false, signals);
    return verdict;
  }
  const double median = history.usual().Median(), above = signals.loss() - median;
  // The deviation is asked for where it matters alone: it costs more than all else of a quiet step.
  const double least = above > log_factor_ ? max_deviations_ * history.Deviation(kSmallestDeviation) : 0;
  const double limit = median + std::max(log_factor_, least);
  const bool outlier = signals.loss() > limit;
  verdict = Quiet();
  const bool matters = signals.loss() > signals.start_loss() + kLearntForJumps;
  if (outlier && matters && NormIsLarge(signals)) {
    verdict.kind = Verdict::Kind::kHolds;
    verdict.value = record.loss;
    verdict.limit = signals.LossOf(limit);
    verdict.usual = signals.LossOf(median);
  }
  Admit(signals.loss(), outlier, signals);
  return verdict;
}

void LossJump::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                        v1::Alert* alert) const {
  if (std::isinf(verdict.value)) {
    alert->set_summary("the loss is +Inf, above any limit");
  } else if (verdict.usual > 0) {
    alert->set_summary(absl::StrFormat("loss %s is %s times its median %s", Number(verdict.value),
                                       Number(verdict.value / verdict.usual), Number(verdict.usual)));
  } else {
    alert->set_summary(
        absl::StrFormat("loss %s is far above its median %s", Number(verdict.value), Number(verdict.usual)));
  }
  const bool large_update = ExplainLastUpdate(record, signals, alert);
  const double usual_norm = signals.usual_norm();
  const bool is_large = usual_norm > 0 && record.grad_norm > kLargeNorm * usual_norm;
  const bool is_usual =
      usual_norm > 0 && signals.has_norm() && std::exp(signals.recent_norm()) < kLargeNorm * usual_norm;
  if (is_large || std::isinf(verdict.value)) {
    DescribeWitnesses(record, signals, alert);
    SuggestCures(record, LargestTensor(record), signals, alert);
  } else if (is_usual && !large_update) {
    alert->add_diagnosis("The gradient norm is as usual: look at the data, or at units that saturate.");
  }
}

void UsualShare::Observe(bool is_so) {
  if (++steps_ > kLeftOut) {
    const double was_so = static_cast<double>(last_ >> (kLeftOut - 1));
    share_ += (was_so - share_) / static_cast<double>(Counted());
  }
  last_ = last_ << 1 | (is_so ? 1 : 0);
}

int64_t UsualShare::Counted() const {
  constexpr int64_t kSteps = 200, kUnknown = 10;
  return std::min(kSteps, std::max<int64_t>(0, steps_ - kLeftOut) + kUnknown);
}

double UsualShare::value() const {
  return std::min(1.0, share_ + 2 * std::sqrt(share_ * (1 - share_) / static_cast<double>(Counted())));
}

void UsualShare::Clear() { *this = UsualShare(); }

LossDivergence::LossDivergence(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : log_factor_(std::log(rule.loss_divergence().factor())),
      log_start_factor_(std::log(rule.loss_divergence().start_factor())),
      max_deviations_(rule.loss_divergence().max_deviations()) {
  static_cast<void>(tensor_names);
  BeginAnew(0);
}

void LossDivergence::BeginAnew(int era) {
  era_ = era;
  above_.Clear();
  sum_ = broken_sum_ = 0;
  left_ = never_ = held_ = false;
  highest_.Clear();
  worse_ = 0;
  medians_.Clear();
}

Verdict LossDivergence::Judge(const StepRecord& record, const RunSignals& signals) {
  if (!signals.finite()) return Verdict();
  if (era_ != signals.loss_era()) BeginAnew(signals.loss_era());
  const double best = signals.best().loss;
  const double loose = std::max(best + log_factor_, signals.start_loss() + log_start_factor_);
  const double floor = signals.start_loss() + kLearnt;
  const double noise = max_deviations_ * signals.loss_deviation();
  const double reference = signals.settled() ? std::max(best + std::max(log_factor_, noise), floor) : loose;
  if (sum_ <= 0) above_since_ = record.step;
  Way way = JudgeLoss(signals, reference, loose);
  // What was lost is not over because it scatters, or because updates have become small: it stays above its start.
  const bool stays_lost = held_ && signals.losses30().Median() > signals.start_loss() + kNeverFactor;
  if (way == Way::kNone && stays_lost) way = Way::kNever;
  held_ = way != Way::kNone;
  Verdict verdict = Quiet();
  if (way == Way::kNone) return verdict;
  way_ = way;
  never_factor_ = signals.update_ratio() < kSettlingRatio ? kNeverFactorSettling : kNeverFactor;
  verdict.kind = Verdict::Kind::kHolds;
  verdict.value = way == Way::kNever ? signals.LossOf(signals.losses30().Median()) : record.loss;
  // Of a loss that was never below its start the start is what counts.
  verdict.usual = signals.LossOf(way == Way::kNever ? signals.start_loss() : std::min(best, signals.start_loss()));
  verdict.limit = signals.LossOf(way == Way::kNever  ? signals.start_loss() + never_factor_
                                 : way == Way::kLeft ? reference
                                                     : loose);
  return verdict;
}

LossDivergence::Way LossDivergence::JudgeLoss(const RunSignals& signals, double reference, double loose_reference) {
  const double loss = signals.loss();
  const double limit = LimitOfSum(above_.value());
  AddClamped(loss - reference, limit, &sum_);
  AddClamped(loss - loose_reference, kBrokenLimit, &broken_sum_);
  const bool never = NeverRecovered(signals);
  highest_.Add(sum_ <= 0 ? -kInfinity : loss);
  const bool stays = loss >= highest_.value() - kFallingBack;
  const bool goes_on = left_ && signals.losses10().Median() > reference;
  left_ = signals.settled() && sum_ >= limit && (stays || goes_on);
  if (signals.settled() && !left_) above_.Observe(loss > reference);
  if (left_) return Way::kLeft;
  if (broken_sum_ >= kBrokenLimit && signals.update_ratio() >= kTurningOver) return Way::kBroken;
  return never ? Way::kNever : Way::kNone;
}

bool LossDivergence::NeverRecovered(const RunSignals& signals) {
  const double factor = signals.update_ratio() < kSettlingRatio ? kNeverFactorSettling : kNeverFactor;
  worse_ = signals.losses30().Median() > signals.start_loss() + factor ? worse_ + 1 : 0;
  const double median = signals.losses10().Median();
  medians_.Add(median);
  never_ = worse_ >= kNeverSteps && (never_ || median >= medians_.value() - kHalf);
  return never_;
}

void LossDivergence::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                              v1::Alert* alert) const {
  const std::string factor =
      verdict.usual > 0 ? absl::StrCat(Number(verdict.value / verdict.usual), " times") : "above";
  if (way_ == Way::kNever) {
    alert->set_summary(absl::StrFormat(
        "the loss, %s over 30 steps, has been above its start, %s, for more than %d steps and does not fall",
        Number(verdict.value), Number(verdict.usual), kNeverSteps));
  } else {
    alert->set_summary(absl::StrFormat(
        "loss %s is %s its %s, %s, and does not come back; far above since step %d", Number(verdict.value), factor,
        signals.best().loss > signals.start_loss() ? "start" : "best", Number(verdict.usual), above_since_));
  }
  DescribeBest(signals, alert);
  if (way_ == Way::kBroken) {
    const RunSignals::Update& update = signals.last_update();
    alert->add_diagnosis(absl::StrFormat("Meanwhile updates turn the weights over: that of step %d was %s times %s.",
                                         update.step, Number(update.ratio), signals.NameOf(update.tensor)));
  }
  DescribeWitnesses(record, signals, alert);
  ExplainLastUpdate(record, signals, alert);
  SuggestCures(record, LargestTensor(record), signals, alert, WeightsAfter(record, signals));
}

LossCollapse::LossCollapse(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : log_factor_(std::log(rule.loss_collapse().factor())),
      max_deviations_(rule.loss_collapse().max_deviations()),
      log_start_share_(std::log(rule.loss_collapse().start_share())) {
  static_cast<void>(tensor_names);
}

double LossCollapse::Limit(const RunSignals& signals) const {
  const double noise = std::min(max_deviations_ * signals.loss_deviation(), kMostNoiseOfCollapse);
  return signals.best().loss + std::max(log_factor_, noise);
}

double LossCollapse::LimitOfLittle(const RunSignals& signals) const {
  return signals.best().loss + std::max(log_factor_ / 2, max_deviations_ * signals.loss_deviation() / 4);
}

bool LossCollapse::IsBack(const RunSignals& signals) const {
  const double start = signals.start_loss();
  const SortedWindow& losses = signals.losses30();
  // Only what was learnt can be lost.
  const bool learnt = signals.best().loss + log_factor_ < start;
  return learnt && losses.Quantile(0.1) > Limit(signals) && losses.Median() > start + log_start_share_;
}

bool LossCollapse::LittleIsBack(const RunSignals& signals) const {
  const double best = signals.best().loss, learnt = signals.start_loss() - best;
  const double median = signals.losses30().Median();
  return learnt > log_factor_ / 2 && learnt <= log_factor_ && median > LimitOfLittle(signals) &&
         median > best + learnt / 2;
}

Verdict LossCollapse::Judge(const StepRecord&, const RunSignals& signals) {
  const SortedWindow& losses = signals.losses30();
  if (!signals.finite()) return Verdict();
  if (losses.size() < losses.capacity()) {
    little_back_ = 0;
    return Verdict();
  }
  Verdict verdict = Quiet();
  const bool little = signals.settled() && LittleIsBack(signals);
  little_back_ = std::clamp(little_back_ + (little ? 1 : -1), 0, 2 * kLastingSteps);
  const bool back = signals.settled() && IsBack(signals);
  if (!back && little_back_ < kLastingSteps) return verdict;
  verdict.kind = Verdict::Kind::kHolds;
  verdict.value = signals.LossOf(losses.Median());
  verdict.limit = signals.LossOf(back ? Limit(signals) : LimitOfLittle(signals));
  verdict.usual = signals.LossOf(signals.best().loss);
  return verdict;
}

void LossCollapse::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                            v1::Alert* alert) const {
  const double loss = signals.LossOf(signals.losses30().Median()), start = signals.LossOf(signals.start_loss());
  alert->set_summary(
      absl::StrFormat("the loss is %s: %s over 30 steps, after a best of %s and a start of %s",
                      start > 0 && loss > kWorseThanStart * start ? "worse than at its start" : "back where it began",
                      Number(loss), Number(verdict.usual), Number(start)));
  DescribeBest(signals, alert);
  const double guessing = signals.facts().guessing_loss;
  if (std::isfinite(guessing) && record.loss > guessing / 2) {
    alert->add_diagnosis(absl::StrFormat("Guessing alone would have a loss of %s.", Number(guessing)));
  }
  alert->add_diagnosis(
      "What it had learnt is lost, and no change of the running job brings it back: start it again with a lower rate "
      "or a clip threshold.");
  SuggestLowerRateOfAnotherStart(record, kLowerRate, signals, alert);
}

JointGrowth::JointGrowth(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : log_loss_factor_(std::log(rule.joint_growth().loss_factor())),
      log_norm_factor_(std::log(rule.joint_growth().norm_factor())),
      log_update_loss_factor_(std::log(rule.joint_growth().update_loss_factor())),
      log_update_factor_(std::log(rule.joint_growth().update_factor())) {
  static_cast<void>(tensor_names);
}

Verdict JointGrowth::Judge(const StepRecord& record, const RunSignals& signals) {
  if (!signals.finite() || signals.losses50().size() < kWitnesses || signals.norms50().size() < kWitnesses) {
    return Verdict();
  }
  Verdict verdict = Quiet();
  if (!signals.settled() || signals.losses10().Median() < signals.start_loss() + kLearnt) return verdict;
  if (era_ != signals.loss_era()) {
    above_norm_.Clear();
    above_update_.Clear();
    era_ = signals.loss_era();
  }
  by_norm_ = NormHasGrown(signals);
  const bool by_update = !by_norm_ && UpdateHasGrown(record, signals);
  if (!by_norm_ && !by_update) {
    above_norm_.Observe(signals.loss() > LimitOfNorm(signals));
    above_update_.Observe(signals.loss() > LimitOfUpdate(signals));
    return verdict;
  }
  verdict.kind = Verdict::Kind::kHolds;
  verdict.value = signals.LossOf(by_norm_ ? signals.losses20().Median() : signals.losses10().Median());
  verdict.usual = signals.LossOf(signals.best().loss);
  verdict.limit = signals.LossOf(signals.best().loss + (by_norm_ ? log_loss_factor_ : log_update_loss_factor_));
  return verdict;
}

double JointGrowth::LimitOfNorm(const RunSignals& signals) const {
  return signals.best().loss + std::max(log_loss_factor_, kNormDeviations * signals.loss_deviation());
}

double JointGrowth::LimitOfUpdate(const RunSignals& signals) const {
  return signals.best().loss + std::max(log_update_loss_factor_, kUpdateLossDeviations * signals.loss_deviation());
}

bool JointGrowth::NormHasGrown(const RunSignals& signals) const {
  const RunSignals::Best& best = signals.best();
  const double norm = best.norm + std::max(log_norm_factor_, kNormDeviations * signals.norm_deviation());
  return IsUnusual(signals.losses20(), LimitOfNorm(signals), above_norm_) &&
         signals.norms20().Median() > std::max(norm, signals.start_norm());
}

bool JointGrowth::UpdateHasGrown(const StepRecord& record, const RunSignals& signals) const {
  const RunSignals::Best& best = signals.best();
  if (!(best.update_ratio > 0) || signals.ratios5().size() < signals.ratios5().capacity()) return false;
  if (!IsUnusual(signals.losses10(), LimitOfUpdate(signals), above_update_)) return false;
  const double explained = best.learning_rate > 0
                               ? std::max(1.0, std::min(record.learning_rate, signals.top_rate()) / best.learning_rate)
                               : 1;
  const double factor = std::exp(std::max(log_update_factor_, kNormDeviations * signals.norm_deviation()));
  const double ratio = signals.ratios5().Median();
  return ratio >= kSmallestRatio && ratio > factor * explained * best.update_ratio;
}

void JointGrowth::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                           v1::Alert* alert) const {
  const RunSignals::Best& best = signals.best();
  if (by_norm_) {
    alert->set_summary(absl::StrFormat(
        "loss and gradient norm have grown together: over 20 steps the loss is %s, best %s, and the norm %s, %s then",
        Number(signals.LossOf(signals.losses20().Median())), Number(verdict.usual),
        Number(std::exp(signals.norms20().Median())), Number(std::exp(best.norm))));
  } else {
    const RunSignals::Update& update = signals.last_update();
    alert->set_tensor(signals.NameOf(update.tensor));
    alert->set_summary(absl::StrFormat(
        "loss and updates have grown together: over 10 steps the loss is %s, best %s, and updates are %s of the "
        "weights, %s then; largest in %s",
        Number(signals.LossOf(signals.losses10().Median())), Number(verdict.usual), Number(signals.ratios5().Median()),
        Number(best.update_ratio), alert->tensor()));
  }
  DescribeBest(signals, alert);
  ExplainLastUpdate(record, signals, alert);
  SuggestCures(record, LargestTensor(record), signals, alert);
}

}  // namespace gradwatch::core
