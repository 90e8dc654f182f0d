#include "core/detect/norm_rules.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// norm_growth: rises in a row and how large each is; norms before anything is said of slow growth.
constexpr int kRises = 3;
const double kRise = std::log(2.0);
constexpr int kFirstNorms = 10;
constexpr int kFewNorms = 20;
const double kAboveStart = std::log(3.0);
// A loss that had a new best on this many of the last 50 steps falls steadily; one that had its last within so many
// steps, and is lower by this factor than when the norm was lowest, has been falling.
constexpr uint64_t kLastSteps = (uint64_t{1} << 50) - 1;
constexpr int kLearning = 25;
constexpr int kStillLearning = 200;
const double kLearnt = std::log(1.25);
// This many times the factor are told whatever the loss does.
const double kFarBeyond = std::log(5.0);
// A loss below this share of its start is that of a task that is all but solved.
const double kSolved = std::log(1e-2);
// The logarithm of the largest float: where a gradient is no number any more.
constexpr double kLogLargestFloat = 88.7;

// Growth of y a step over the trailing window, from the medians of its first and last ten; 0: too few.
double GrowthPerStep(const SortedWindow& norms) {
  constexpr int kPart = 10;
  if (norms.size() < 2 * kPart) return 0;
  const auto median = [&](int first) {
    std::array<double, kPart> part;
    for (int i = 0; i < kPart; ++i) part[i] = norms.ByAge(first + i);
    std::sort(part.begin(), part.end());
    return (part[kPart / 2 - 1] + part[kPart / 2]) / 2;
  };
  return (median(norms.size() - kPart) - median(0)) / (norms.size() - kPart);
}

}  // namespace

NormLimit::NormLimit(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_norm_(rule.norm_limit().max_norm()),
      per_tensor_(rule.norm_limit().per_tensor()),
      tensors_(MatchingTensors(rule, tensor_names)) {}

Verdict NormLimit::JudgeNorm(double norm, int64_t infinities, int64_t nans, int tensor) const {
  Verdict verdict;
  if (infinities > 0) norm = kInfinity;
  if (norm > max_norm_) {
    verdict.kind = Verdict::Kind::kHolds;
  } else if (nans == 0 && !std::isnan(norm)) {
    verdict.kind = Verdict::Kind::kQuiet;
  }
  verdict.value = norm;
  verdict.limit = max_norm_;
  verdict.tensor = tensor;
  return verdict;
}

Verdict NormLimit::Judge(const StepRecord& record, const RunSignals&) {
  if (!per_tensor_) {
    return JudgeNorm(record.grad_norm, record.pos_inf_count + record.neg_inf_count, record.nan_count, -1);
  }
  Verdict worst;
  if (record.level == v1::STATISTICS_LEVEL_NONE) return worst;
  for (const int i : tensors_) {
    if (i >= static_cast<int>(record.tensors.size())) break;
    const TensorStatistics& tensor = record.tensors[i];
    const Verdict verdict = JudgeNorm(tensor.l2_norm, tensor.pos_inf_count + tensor.neg_inf_count, tensor.nan_count, i);
    if (verdict.kind > worst.kind || (verdict.kind == worst.kind && verdict.value > worst.value)) worst = verdict;
  }
  return worst;
}

void NormLimit::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  const int tensor = per_tensor_ ? verdict.tensor : LargestTensor(record);
  alert->set_tensor(signals.NameOf(tensor));
  alert->set_summary(absl::StrCat(
      "gradient norm ", Number(verdict.value), per_tensor_ ? absl::StrCat(" of ", alert->tensor()) : std::string(),
      " is above the limit ", Number(max_norm_), per_tensor_ ? std::string() : LargestIn(alert->tensor())));
  if (!per_tensor_ && ExplainUsualNorm(verdict.value, max_norm_, signals, alert)) return;
  ExplainLargeGradient(record, tensor, signals, alert);
  SuggestCures(record, tensor, signals, alert);
}

bool NormSpike::IsShared(const v1::Rule& rule) {
  // Where its outliers are those of the run too; the comparison of logarithms leaves a rounding.
  const v1::NormSpikeCondition& spike = rule.norm_spike();
  return !spike.per_tensor() && spike.window() == RunSignals::kUsualWindow && spike.max_deviations() >= 8 &&
         spike.max_deviations() * spike.min_deviation() > std::log(20) - 1e-9;
}

NormSpike::NormSpike(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_deviations_(rule.norm_spike().max_deviations()),
      outlier_deviations_(std::min(max_deviations_, std::max(3.0, max_deviations_ / 2))),
      min_deviation_(rule.norm_spike().min_deviation()),
      log_start_factor_(std::log(rule.norm_spike().start_factor())),
      per_tensor_(rule.norm_spike().per_tensor()),
      shared_(IsShared(rule)),
      tensors_(MatchingTensors(rule, tensor_names)) {
  const size_t count = per_tensor_ ? tensors_.size() : shared_ ? 0 : 1;
  histories_.reserve(count);
  for (size_t i = 0; i < count; ++i) histories_.emplace_back(rule.norm_spike().window(), kWarmUp);
}

int64_t NormSpike::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  const v1::NormSpikeCondition& spike = rule.norm_spike();
  const size_t count = spike.per_tensor() ? MatchingTensors(rule, tensor_names).size() : IsShared(rule) ? 0 : 1;
  return static_cast<int64_t>(count) * (static_cast<int64_t>(sizeof(History)) + History::Bytes(spike.window()));
}

Verdict NormSpike::JudgeAgainst(double norm, const History& usual, int tensor) const {
  Verdict verdict;
  if (!usual.ready()) return verdict;
  const double median = usual.usual().Median();
  const double above = std::log(norm) - median;
  // Where it is no outlier by the smallest deviation, it is none by that of the history, which costs more to find.
  const bool is_near = above <= outlier_deviations_ * min_deviation_;
  const double deviation = is_near ? min_deviation_ : usual.Deviation(min_deviation_);
  verdict.deviations = above / deviation;
  verdict.tensor = tensor;
  const bool holds = verdict.deviations > max_deviations_;
  verdict.kind = holds ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  if (!holds) return verdict;
  verdict.value = norm;
  verdict.limit = std::exp(median + max_deviations_ * deviation);
  verdict.usual = std::exp(median);
  return verdict;
}

Verdict NormSpike::Judge(const StepRecord& record, const RunSignals& signals) {
  if (per_tensor_) return JudgeTensors(record);
  Verdict verdict;
  if (record.pos_inf_count + record.neg_inf_count > 0 || record.grad_norm == kInfinity) {
    verdict.kind = Verdict::Kind::kHolds;
    verdict.value = verdict.limit = verdict.deviations = kInfinity;
    return verdict;
  }
  if (!signals.has_norm()) return verdict;
  verdict = JudgeNorm(record.grad_norm, signals);
  if (verdict.kind == Verdict::Kind::kHolds && !Matters(signals)) verdict.kind = Verdict::Kind::kQuiet;
  return verdict;
}

// With start_factor. A network that has all but solved its task has hardly any gradient, and one hard example has a
// thousand times as much: should it do harm, the loss tells.
bool NormSpike::Matters(const RunSignals& signals) const {
  if (std::isinf(log_start_factor_)) return true;
  const SortedWindow& losses = signals.losses10();
  const bool is_solved = losses.size() == losses.capacity() && losses.Median() < signals.start_loss() + kSolved;
  return !is_solved && signals.norm() > signals.start_norm() + log_start_factor_;
}

// An outlier stays out of the history, however small it is beside the first norms.
Verdict NormSpike::JudgeNorm(double norm, const RunSignals& signals) {
  if (shared_) return JudgeAgainst(norm, signals.usual_norms(), -1);
  const Verdict verdict = JudgeAgainst(norm, histories_[0], -1);
  histories_[0].Admit(std::log(norm), verdict.deviations > outlier_deviations_);
  return verdict;
}

Verdict NormSpike::JudgeTensors(const StepRecord& record) {
  Verdict worst;
  if (record.level == v1::STATISTICS_LEVEL_NONE) return worst;
  for (size_t i = 0; i < tensors_.size() && tensors_[i] < static_cast<int>(record.tensors.size()); ++i) {
    const Verdict verdict = JudgeTensor(record, i);
    const bool worse = verdict.kind == worst.kind && verdict.deviations > worst.deviations;
    if (verdict.kind > worst.kind || worse) worst = verdict;
  }
  return worst;
}

Verdict NormSpike::JudgeTensor(const StepRecord& record, size_t i) {
  const TensorStatistics& tensor = record.tensors[tensors_[i]];
  Verdict verdict;
  if (tensor.pos_inf_count + tensor.neg_inf_count > 0) {
    verdict.kind = Verdict::Kind::kHolds;
    verdict.value = verdict.limit = verdict.deviations = kInfinity;
    verdict.tensor = tensors_[i];
    return verdict;
  }
  const bool finite = std::isfinite(record.loss) && tensor.nan_count == 0 && std::isfinite(tensor.l2_norm);
  if (!finite || tensor.l2_norm <= 0) return verdict;
  verdict = JudgeAgainst(tensor.l2_norm, histories_[i], tensors_[i]);
  histories_[i].Admit(std::log(tensor.l2_norm), verdict.deviations > outlier_deviations_);
  return verdict;
}

void NormSpike::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  const int tensor = per_tensor_ ? verdict.tensor : LargestTensor(record);
  alert->set_tensor(signals.NameOf(tensor));
  if (std::isinf(verdict.value)) {
    alert->set_summary(absl::StrCat("the gradient", per_tensor_ ? absl::StrCat(" of ", alert->tensor()) : "",
                                    " holds an infinity, above any norm"));
  } else {
    alert->set_summary(absl::StrFormat(
        "gradient norm %s%s is %s times its median %s, %.0f robust deviations above it%s", Number(verdict.value),
        per_tensor_ ? absl::StrCat(" of ", alert->tensor()) : "", Number(verdict.value / verdict.usual),
        Number(verdict.usual), verdict.deviations, per_tensor_ ? "" : LargestIn(alert->tensor())));
  }
  ExplainLargeGradient(record, tensor, signals, alert);
  SuggestCures(record, tensor, signals, alert);
}

NormGrowth::NormGrowth(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : log_factor_(std::log(rule.norm_growth().factor())),
      largest_(-kInfinity),
      largest_before_run_(-kInfinity),
      lowest_(kInfinity) {
  static_cast<void>(tensor_names);
}

Verdict NormGrowth::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  if (!signals.has_norm()) return verdict;
  const bool runs = Runs(signals.norm());
  const bool grown = HasGrown(signals);
  verdict.kind = runs || grown ? Verdict::Kind::kHolds : Verdict::Kind::kQuiet;
  if (verdict.kind == Verdict::Kind::kQuiet) return verdict;
  at_a_run_ = runs;
  const double base = runs ? largest_before_run_ : lowest_;
  // What was judged: a single norm may lie below the limit while their median does not.
  verdict.value = runs ? record.grad_norm : std::exp(signals.norms10().Median());
  verdict.usual = std::exp(base);
  verdict.limit = std::exp(base + log_factor_);
  return verdict;
}

bool NormGrowth::Runs(double norm) {
  if (norms_++ > 0) {
    const bool rise = norm > last_ + kRise;
    if (rise && rises_ == 0) largest_before_run_ = largest_;
    rises_ = rise ? rises_ + 1 : 0;
  }
  last_ = norm;
  largest_ = std::max(largest_, norm);
  return rises_ >= kRises && norm > largest_before_run_ + log_factor_;
}

bool NormGrowth::HasGrown(const RunSignals& signals) {
  const double median = signals.norms10().Median();
  if (norms_ == kFirstNorms) start_ = median;
  if (norms_ < kFewNorms) return false;
  const bool learns = Learns(signals);
  if (!(median > lowest_ + log_factor_)) return false;
  const bool is_solved = signals.losses10().Median() < signals.start_loss() + kSolved;
  if (median > lowest_ + log_factor_ + kFarBeyond && !is_solved) return true;
  return !learns && median > start_ + kAboveStart;
}

// A run that leaves a flat start has gradients that grow while its loss falls.
bool NormGrowth::Learns(const RunSignals& signals) {
  const bool is_best = signals.best().losses != best_;
  best_ = signals.best().losses;
  new_bests_ = (new_bests_ << 1 | (is_best ? 1 : 0)) & kLastSteps;
  since_best_ = is_best ? 0 : since_best_ + 1;
  const double level = signals.norms50().Median();
  if (level < lowest_ || era_ != signals.loss_era()) loss_at_lowest_ = signals.best().loss;
  lowest_ = std::min(lowest_, level);
  era_ = signals.loss_era();
  return std::popcount(new_bests_) >= kLearning ||
         (since_best_ <= kStillLearning && signals.best().loss < loss_at_lowest_ - kLearnt);
}

void NormGrowth::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                          v1::Alert* alert) const {
  const int tensor = LargestTensor(record);
  alert->set_tensor(signals.NameOf(tensor));
  const double factor = verdict.value / verdict.usual;
  if (at_a_run_) {
    alert->set_summary(
        absl::StrFormat("gradient norm %s: it has more than doubled %d steps in a row, to %s times the "
                        "largest before%s",
                        Number(verdict.value), rises_, Number(factor), LargestIn(alert->tensor())));
  } else {
    alert->set_summary(absl::StrFormat("gradient norm %s has grown to %s times its lowest level, %s%s",
                                       Number(verdict.value), Number(factor), Number(verdict.usual),
                                       LargestIn(alert->tensor())));
    const double growth = GrowthPerStep(signals.norms50());
    if (growth > 0) {
      alert->add_diagnosis(absl::StrFormat(
          "Over the last %d steps it was %s: at that rate it is beyond a float in %.0f steps.",
          signals.norms50().size(), GrowthAStep(growth), std::max(0.0, (kLogLargestFloat - signals.norm()) / growth)));
    }
  }
  ExplainLargeGradient(record, tensor, signals, alert);
  SuggestCures(record, tensor, signals, alert, WeightsAfter(record, signals));
}

}  // namespace gradwatch::core
