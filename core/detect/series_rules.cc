#include "core/detect/series_rules.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

using SeriesSpec = v1::SeriesCondition;

// Updates of a share of their weights between these are usual.
constexpr double kSmallUpdate = 1e-5, kLargeUpdate = 1e-2;

// Factors on the learning rate to try first, where updates are far too large and where they grow.
constexpr double kLowerRate = 0.1;
constexpr double kSomewhatLowerRate = 0.3;
// A loss above this share of that of guessing is no better.
constexpr double kLikeGuessing = 0.95;

// Explains the last update where it was unusual, with the cure of a lower rate.
bool BlameUpdate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  if (!ExplainLastUpdate(record, signals, alert)) return false;
  SuggestLowerRate(record, kLowerRate, signals, alert);
  return true;
}

// NaN is the same as NaN: no number.
bool IsSame(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// What to look at where a loss stands still: a command only where the rate was changed and may be why.
void ExplainStandstill(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const double ratio = signals.usual_ratio();
  std::string measured = absl::StrFormat("The learning rate is %s", Number(record.learning_rate));
  if (ratio > 0) {
    const char* size = ratio >= kLargeUpdate   ? ", which may be too large to get on"
                       : ratio <= kSmallUpdate ? ", which may be too small to get on"
                                               : "";
    absl::StrAppend(&measured, "; an update is usually ", Number(ratio), " of its weights", size);
  }
  alert->add_diagnosis(absl::StrCat(measured, "."));
  if (RateWasRaised(record, signals)) return SuggestLowerRate(record, kLowerRate, signals, alert);
  if (ratio > 0 && ratio <= kSmallUpdate && RateWasLowered(record, signals)) {
    return SuggestHigherRate(record, signals, alert);
  }
  alert->add_diagnosis(
      "Look whether this loss is good enough already, whether inputs and targets belong together, whether the network "
      "is large enough for them, and whether another learning rate does better.");
}

int32_t Third(const v1::NoProgressCondition& condition) { return condition.window() / 3; }

}  // namespace

Series::Series(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : series_(rule.series().series()),
      kind_(rule.series().baseline()),
      window_(rule.series().window()),
      factor_(rule.series().has_factor() ? std::optional(rule.series().factor()) : std::nullopt),
      max_deviations_(rule.series().has_max_deviations() ? std::optional(rule.series().max_deviations())
                                                         : std::nullopt),
      limit_(rule.series().has_limit() ? std::optional(rule.series().limit()) : std::nullopt),
      keep_out_(rule.series().keep_out()),
      baseline_(rule.series()) {}

int64_t Series::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/) {
  return SeriesBaseline::Bytes(rule.series());
}

std::optional<double> Series::ValueOf(const StepRecord& record, const RunSignals& signals) const {
  switch (series_) {
    case SeriesSpec::SERIES_GRAD_NORM:
      if (record.nan_count > 0) return std::numeric_limits<double>::quiet_NaN();
      return record.non_finite() > 0 ? std::numeric_limits<double>::infinity() : record.grad_norm;
    case SeriesSpec::SERIES_UPDATE_RATIO:
      if (signals.last_update().step != record.step) return std::nullopt;
      return signals.last_update().ratio;
    default:
      return record.loss;
  }
}

std::optional<double> Series::Limit() const {
  if (kind_ == SeriesSpec::BASELINE_UNSPECIFIED) return limit_;
  if (!baseline_.ready()) return std::nullopt;
  std::optional<double> largest = limit_;
  const double value = baseline_.value();
  if (factor_.has_value()) {
    const double multiple = value >= 0 ? *factor_ * value : value - (*factor_ - 1) * value;
    largest = std::max(largest.value_or(multiple), multiple);
  }
  if (const double deviation = baseline_.deviation(); max_deviations_.has_value() && !std::isnan(deviation)) {
    const double above = value + *max_deviations_ * deviation;
    largest = std::max(largest.value_or(above), above);
  }
  return largest;
}

Verdict Series::JudgeValue(double value) {
  Verdict verdict;
  verdict.value = value;
  const std::optional<double> limit = Limit();
  verdict.limit = limit.value_or(std::numeric_limits<double>::max());
  if (baseline_.ready()) {
    verdict.usual = baseline_.value();
    verdict.deviations = (value - verdict.usual) / baseline_.deviation();
  }
  if (!std::isfinite(value)) {
    verdict.kind = Verdict::Kind::kHolds;
    return verdict;
  }
  const bool holds = limit.has_value() && value > *limit;
  if (limit.has_value()) verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  if (!holds || !keep_out_) baseline_.Admit(value);
  return verdict;
}

Verdict Series::Judge(const StepRecord& record, const RunSignals& signals) {
  const std::optional<double> value = ValueOf(record, signals);
  return value.has_value() ? JudgeValue(*value) : Verdict();
}

std::string Series::NameOfValue(const v1::Alert& alert) const {
  if (series_ == SeriesSpec::SERIES_GRAD_NORM) return "the gradient norm";
  if (series_ != SeriesSpec::SERIES_UPDATE_RATIO) return "the loss";
  return absl::StrCat("the update of ", alert.tensor(), ", as a multiple of its weights,");
}

std::string Series::NameOfBaseline() const {
  switch (kind_) {
    case SeriesSpec::BASELINE_MEAN:
      return absl::StrCat("the mean of the last ", window_);
    case SeriesSpec::BASELINE_MOVING:
      return absl::StrCat("the moving mean of about ", window_);
    case SeriesSpec::BASELINE_FIRST_LARGEST:
      return absl::StrCat("the largest of the first ", window_);
    default:
      return "the lowest so far";
  }
}

void Series::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                      v1::Alert* alert) const {
  if (series_ == SeriesSpec::SERIES_GRAD_NORM) alert->set_tensor(signals.NameOf(LargestTensor(record)));
  if (series_ == SeriesSpec::SERIES_UPDATE_RATIO) alert->set_tensor(signals.NameOf(signals.last_update().tensor));
  const std::string what = NameOfValue(*alert);
  if (!std::isfinite(verdict.value)) {
    alert->set_summary(absl::StrFormat("%s is %s, above every limit, since step %d", what, Number(verdict.value),
                                       alert->first_step()));
  } else {
    alert->set_summary(absl::StrFormat("%s is %s, above the limit %s since step %d", what, Number(verdict.value),
                                       Number(verdict.limit), alert->first_step()));
  }
  if (verdict.usual != 0 && std::isfinite(verdict.value)) {
    alert->add_diagnosis(absl::StrFormat("It is %s times %s, %s.", Number(verdict.value / verdict.usual),
                                         NameOfBaseline(), Number(verdict.usual)));
  }
  if (std::isfinite(verdict.deviations) && max_deviations_.has_value()) {
    alert->add_diagnosis(absl::StrFormat("It is %s standard deviations above that mean.", Number(verdict.deviations)));
  }
  Explain(record, signals, alert);
}

void Series::Explain(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) const {
  if (BlameUpdate(record, signals, alert)) return;
  if (series_ == SeriesSpec::SERIES_UPDATE_RATIO) {
    alert->add_diagnosis(
        absl::StrFormat("The learning rate is %s; a lower one makes smaller updates.", Number(record.learning_rate)));
    SuggestLowerRate(record, kLowerRate, signals, alert);
  } else if (series_ == SeriesSpec::SERIES_GRAD_NORM && !alert->tensor().empty()) {
    alert->add_diagnosis(absl::StrFormat("The gradient is largest in %s.", alert->tensor()));
  } else if (signals.usual_ratio() > 0 && signals.last_update().step >= record.step - 1) {
    alert->add_diagnosis("The update before was no larger than usual: look at the data of this step.");
  }
}

Drift::Drift(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : slack_(rule.drift().slack()), limit_(rule.drift().limit()), baseline_steps_(rule.drift().baseline_steps()) {}

Verdict Drift::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  if (!signals.has_norm()) return verdict;
  const double y = signals.norm();
  if (baseline_.count() < baseline_steps_) {
    baseline_.Add(y);
    return verdict;
  }
  const double z = (y - baseline_.mean()) / std::max(baseline_.sample_deviation(), kSmallestDeviation);
  if (sum_ == 0) drifts_since_ = record.step;
  sum_ = std::clamp(sum_ + z - slack_, 0.0, 2 * limit_);
  verdict.kind = sum_ > limit_ ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  verdict.value = sum_;
  verdict.limit = limit_;
  verdict.usual = std::exp(baseline_.mean());
  verdict.deviations = z;
  return verdict;
}

void Drift::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                     v1::Alert* alert) const {
  const int64_t steps = record.step - drifts_since_ + 1;
  const double grown = signals.norm() - baseline_.mean();
  alert->set_summary(absl::StrFormat(
      "the gradient norm has drifted upward since step %d: the sum of its deviations from the first %d norms is %s, "
      "above the limit %s",
      drifts_since_, baseline_steps_, Number(verdict.value), Number(limit_)));
  alert->add_diagnosis(absl::StrFormat("It is %s now, %s times what it was in the first %d, %s.",
                                       Number(std::exp(signals.norm())), Number(std::exp(grown)), baseline_steps_,
                                       Number(verdict.usual)));
  if (steps == 1) {
    alert->add_diagnosis("It got there in a single step: a spike rather than a drift.");
  } else if (grown > 0) {
    alert->add_diagnosis(
        absl::StrFormat("That is about %s over %d steps.", GrowthAStep(grown / static_cast<double>(steps)), steps));
  }
  if (BlameUpdate(record, signals, alert)) return;
  alert->add_diagnosis("If it goes on, updates grow with it, unless something scales them.");
  SuggestLowerRate(record, kSomewhatLowerRate, signals, alert);
}

NoProgress::NoProgress(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : window_(rule.no_progress().window()),
      min_gain_(rule.no_progress().min_gain()),
      first_(Third(rule.no_progress())),
      middle_(rule.no_progress().window() - 2 * Third(rule.no_progress())),
      last_(Third(rule.no_progress())) {}

int64_t NoProgress::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/) {
  const int32_t third = Third(rule.no_progress());
  return 2 * SortedWindow::Bytes(third) +
         (rule.no_progress().window() - 2 * third) * static_cast<int64_t>(sizeof(double));
}

void NoProgress::Admit(double loss) {
  if (last_.size() == last_.capacity()) {
    if (middle_size_ == middle_.size()) {
      first_.Add(middle_[middle_next_]);
    } else {
      ++middle_size_;
    }
    middle_[middle_next_] = last_.ByAge(0);
    middle_next_ = (middle_next_ + 1) % middle_.size();
  }
  last_.Add(loss);
}

Verdict NoProgress::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  if (!signals.finite() || !(record.learning_rate > 0)) return verdict;
  Admit(record.loss);
  if (!full()) return verdict;
  verdict.value = last_.Median();
  verdict.usual = first_.Median();
  verdict.limit = verdict.usual - min_gain_ * std::abs(verdict.usual);
  const bool holds = verdict.value >= verdict.limit && verdict.value != 0;
  verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  return verdict;
}

void NoProgress::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                          v1::Alert* alert) const {
  alert->set_summary(absl::StrFormat(
      "the loss has not fallen over the last %d losses: median %s in the last third, %s in the first; so since step %d",
      window_, Number(verdict.value), Number(verdict.usual), alert->first_step()));
  if (signals.best().step >= 0) {
    alert->add_diagnosis(absl::StrFormat("It was best about step %d: %s.", signals.best().step,
                                         Number(signals.LossOf(signals.best().loss))));
  }
  const double guessing = signals.facts().guessing_loss;
  if (guessing > 0 && verdict.value >= kLikeGuessing * guessing) {
    alert->add_diagnosis(absl::StrFormat("Guessing has a loss of %s: this one is no better.", Number(guessing)));
  }
  ExplainStandstill(record, signals, alert);
}

Clipping::Clipping(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : factor_(rule.clipping().factor()),
      growth_factor_(rule.clipping().growth_factor()),
      before_(rule.clipping().window()),
      after_(rule.clipping().window()) {}

int64_t Clipping::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/) {
  return 2 * SortedWindow::Bytes(rule.clipping().window());
}

void Clipping::ObserveSettings(const StepRecord& record) {
  const ClipInForce& now = record.clip_in_force;
  const bool is_same = now.shared.mode == shared_.mode && IsSame(now.shared.number, shared_.number) &&
                       IsSame(now.norm_limit, norm_limit_);
  if (set_step_ == kNever || !is_same) {
    shared_ = now.shared;
    norm_limit_ = now.norm_limit;
    set_step_ = record.step;
    norm_when_set_ = std::numeric_limits<double>::quiet_NaN();
  }
  if (std::isnan(norm_when_set_) && before_.size() >= kFirstNorms) norm_when_set_ = before_.Median();
}

Verdict Clipping::JudgeWindow() const {
  Verdict verdict;
  if (before_.size() < before_.capacity() || std::isnan(norm_when_set_)) return verdict;
  const double before = before_.Median(), after = after_.Median();
  verdict.value = before / after;
  verdict.limit = factor_;
  verdict.usual = norm_when_set_;
  const bool holds = before > factor_ * after && before >= growth_factor_ * norm_when_set_;
  verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  return verdict;
}

Verdict Clipping::Judge(const StepRecord& record, const RunSignals& signals) {
  if (!signals.has_norm() || !WasUpdated(record)) return Verdict();
  ObserveSettings(record);
  before_.Add(record.grad_norm);
  after_.Add(record.clip.norm_after);
  return JudgeWindow();
}

void Clipping::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                        v1::Alert* alert) const {
  const int tensor = LargestTensor(record);
  alert->set_tensor(signals.NameOf(tensor));
  alert->set_summary(absl::StrFormat(
      "clipping hides what happens: over the last %d steps the median gradient norm is %s before it and %s after it, "
      "above the limit %s times since step %d%s",
      before_.size(), Number(before_.Median()), Number(after_.Median()), Number(factor_), alert->first_step(),
      LargestIn(alert->tensor())));
  alert->add_diagnosis(absl::StrFormat("Since clipping was set at step %d the norm has grown %s times, from %s.",
                                       set_step_, Number(before_.Median() / verdict.usual), Number(verdict.usual)));
  if (BlameUpdate(record, signals, alert)) return;
  alert->add_diagnosis(absl::StrFormat(
      "Every step has about the length that the limit and the learning rate %s allow, whatever the gradient is: if the "
      "loss does not fall, shorter steps are what is left.",
      Number(record.learning_rate)));
  SuggestLowerRate(record, kLowerRate, signals, alert);
}

}  // namespace gradwatch::core
