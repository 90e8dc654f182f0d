#include "core/detect/run_signals.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"

namespace gradwatch::core {
namespace {

// The mean of half of a normal distribution times this is its standard deviation.
constexpr double kDeviationOfMean = 1.2533;
// Steps over which a standard deviation is averaged, and the most of them that one step may add to it.
constexpr int64_t kDeviationSteps = 50;
constexpr double kMostDeviations = 3;
constexpr double kLeastDeviation = 0.1;
// Losses or norms from which a median says something.
constexpr int kFewest = 5;

// The first losses are of the start up to this factor above the first of all, and where updates were too small to have
// made any difference, up to the second one.
const double kMostOfStart = std::log(3.0);
const double kMostLuck = std::log(30.0);
constexpr double kSmallRatio = 0.01;
// A run is calm while its loss is below this many times its best, or this many times its start.
const double kCalmOfBest = std::log(3.0);
const double kCalmOfStart = std::log(1.5);
constexpr int kCalmSteps = 20;

// The smallest loss or norm that a logarithm is taken of.
constexpr double kSmallest = 1e-38;
// A first loss that a run is measured by is at least this.
constexpr double kSmallestScale = 1e-6;

// A rate that is higher than this times the highest so far is a new highest one.
constexpr double kNewRate = 1.0001;
constexpr int kRateSteps = 20;
// Ratios are usual while the rate is not above this times the top.
constexpr double kUsualRate = 1.2;

std::vector<int> WeightsOf(const std::vector<std::string>& names) {
  std::vector<int> weights, all;
  for (size_t i = 0; i < names.size(); ++i) {
    all.push_back(static_cast<int>(i));
    if (absl::StrContains(names[i], "weight")) weights.push_back(static_cast<int>(i));
  }
  return weights.empty() ? all : weights;
}

// Takes the distance of a sample below its median into a mean over the last ones.
void ObserveDeviation(double below, double* deviation, int64_t* count) {
  const double most = kMostDeviations * std::max(*deviation, kLeastDeviation);
  const double weight = 1 / static_cast<double>(std::min(kDeviationSteps, ++*count));
  *deviation += weight * (std::min(kDeviationOfMean * below, most) - *deviation);
}

}  // namespace

int LargestTensor(const StepRecord& record) {
  int largest = -1;
  double norm = 0;
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    if (record.tensors[i].l2_norm > norm) {
      norm = record.tensors[i].l2_norm;
      largest = static_cast<int>(i);
    }
  }
  return largest;
}

bool WasUpdated(const StepRecord& record) {
  return record.clip.action != v1::ClipOutcome::ACTION_SKIPPED && record.clip.action != v1::ClipOutcome::ACTION_STOPPED;
}

bool UpdateWasMeasured(const StepRecord& record) {
  return record.level == v1::STATISTICS_LEVEL_FULL && WasUpdated(record);
}

RunSignals::RunSignals(std::vector<std::string> tensor_names, RunFacts facts)
    : tensor_names_(std::move(tensor_names)),
      facts_(std::move(facts)),
      weights_(WeightsOf(tensor_names_)),
      judged_weights_(weights_.size()) {
  last_norms_.fill(-std::numeric_limits<double>::infinity());
}

int64_t RunSignals::Bytes(const std::vector<std::string>& tensor_names) {
  int64_t bytes = static_cast<int64_t>(sizeof(RunSignals)) + 2 * History::Bytes(kUsualWindow);
  for (const int64_t window : {10, 20, 30, 50, 10, 20, 50, 5, 50, 50}) bytes += SortedWindow::Bytes(window);
  // Twice the vectors, which may have grown by doubling. RunFacts has names of layers: about as many as tensors, since
  // to most layers without any there is one with two, and each as long as theirs with the layer's kind.
  constexpr int64_t kLayerKind = 16;
  for (const std::string& name : tensor_names) {
    bytes += 2 * static_cast<int64_t>(2 * sizeof(std::string) + sizeof(int)) + JudgedWeights::kBytesEach +
             2 * (static_cast<int64_t>(name.size()) + 1) + kLayerKind;
  }
  return bytes;
}

void RunSignals::BeginStep(const StepRecord& record) {
  finite_ = record.non_finite() == 0 && std::isfinite(record.loss) && std::isfinite(record.grad_norm);
  has_norm_ = record.grad_norm > 0;
  if (!finite_) return;
  TakeLoss(record.loss);
  if (has_norm_) TakeNorm(record.grad_norm);
}

void RunSignals::TakeLoss(double loss) {
  // A batch that is right to the last bit says that the loss is low, but not how low.
  if (loss > 0) smallest_loss_ = std::min(smallest_loss_, loss);
  if (only_zeros_ && loss != 0 && losses_ > 0) {
    magnitudes_count_ = 0;
    BeginLossEra(false);
  }
  only_zeros_ = only_zeros_ && loss == 0;
  if (loss == 0 && !is_additive_) loss = smallest_loss_;
  ObserveScale(loss);
  if (!is_additive_ && loss < 0) BeginLossEra(true);
  loss_ = is_additive_ ? std::asinh(loss / loss_scale_) : std::log(std::max(loss, kSmallest));
  ++losses_;
  ObserveStart();
  if (losses_ > kFewest && loss_ < losses30_.Median() && IsCalm(losses30_.Median())) {
    ObserveDeviation(losses30_.Median() - loss_, &loss_deviation_, &deviating_losses_);
  }
  for (SortedWindow* window : {&losses10_, &losses20_, &losses30_, &losses50_}) window->Add(loss_);
  if (best_.step < 0) best_.loss = start_loss_;
  calm_ = IsCalm(loss_) ? calm_ + 1 : 0;
  settled_ = settled_ || calm_ >= kCalmSteps;
}

bool RunSignals::IsCalm(double loss) const {
  return loss <= std::max(best_.loss + kCalmOfBest, start_loss_ + kCalmOfStart);
}

// A first loss near 0 would make mountains of the noise around it: from the fifth on the median is what counts.
void RunSignals::ObserveScale(double loss) {
  if (magnitudes_count_ == kFewest) return;
  magnitudes_[magnitudes_count_++] = std::abs(loss);
  if (magnitudes_count_ == 1) loss_scale_ = std::max(magnitudes_[0], kSmallestScale);
  if (magnitudes_count_ < kFewest) return;
  std::sort(magnitudes_.begin(), magnitudes_.end());
  loss_scale_ = std::max(magnitudes_[kFewest / 2], kSmallestScale);
  if (is_additive_) BeginLossEra(true);
}

// What was known of losses says nothing about these.
void RunSignals::BeginLossEra(bool is_additive) {
  is_additive_ = is_additive;
  ++loss_era_;
  losses_ = 0;
  first_losses_count_ = 0;
  settled_ = false;
  calm_ = 0;
  best_ = Best();
  loss_deviation_ = 0;
  deviating_losses_ = 0;
  usual_losses_.Clear();
  for (SortedWindow* window : {&losses10_, &losses20_, &losses30_, &losses50_}) window->Clear();
}

// Updates that cannot have made a loss many times another: the first batch was a lucky one.
bool RunSignals::UpdatesWereSmall() const { return ratios5_.size() > 0 && ratios5_.Quantile(1) < kSmallRatio; }

void RunSignals::ObserveStart() {
  // asinh(1): of a loss as large as the first one.
  if (losses_ == 1) start_loss_ = is_additive_ ? std::max(loss_, std::asinh(1.0)) : loss_;
  if (losses_ > kFewest) return;
  const bool is_of_the_start = losses_ == 1 || loss_ <= start_loss_ + (UpdatesWereSmall() ? kMostLuck : kMostOfStart);
  if (is_of_the_start) first_losses_[first_losses_count_++] = loss_;
  if (losses_ < kFewest) return;
  const auto end = first_losses_.begin() + first_losses_count_;
  std::sort(first_losses_.begin(), end);
  start_loss_ = std::max(start_loss_, first_losses_[first_losses_count_ / 2]);
}

void RunSignals::TakeNorm(double norm) {
  last_norms_ = {norms_ > 0 ? norm_ : last_norms_[0], last_norms_[0]};
  norm_ = std::log(std::max(norm, kSmallest));
  ++norms_;
  if (norms_ > kFewest && usual_norms_.usual().size() > 0 && norm_ < usual_norms_.usual().Median()) {
    ObserveDeviation(usual_norms_.usual().Median() - norm_, &norm_deviation_, &deviating_norms_);
  }
  for (SortedWindow* window : {&norms10_, &norms20_, &norms50_}) window->Add(norm_);
  if (norms_ <= norms10_.capacity()) start_norm_ = norms10_.Median();
}

bool RunSignals::IsOutlier(double sample, const History& usual, const Outlier& limits) {
  if (!usual.ready()) return false;
  const double above = sample - usual.usual().Median();
  return above >= limits.factor && above >= limits.deviations * usual.Deviation(limits.smallest_deviation);
}

void RunSignals::EndGradients(const StepRecord& record) {
  if (!finite_) return;
  static const Outlier kLossOutlier = {std::log(3.0), 4, 1e-3};
  static const Outlier kNormOutlier = {std::log(20.0) / 2, 4, 0};
  usual_losses_.Admit(loss_, IsOutlier(loss_, usual_losses_, kLossOutlier));
  if (has_norm_) usual_norms_.Admit(norm_, IsOutlier(norm_, usual_norms_, kNormOutlier));
  ObserveBest(record);
  last_finite_ = {record.step, record.grad_norm, LargestTensor(record)};
}

void RunSignals::ObserveBest(const StepRecord& record) {
  if (losses50_.size() < kFewest) return;
  const double loss = losses50_.Median();
  if (best_.step >= 0 && loss >= best_.loss) return;
  best_.step = record.step;
  best_.losses = losses_;
  best_.loss = loss;
  best_.norm = norms50_.size() > 0 ? norms50_.Median() : std::numeric_limits<double>::infinity();
  best_.update_ratio = ratios50_.size() >= kFewest ? ratios50_.Median() : 0;
  best_.learning_rate = record.learning_rate;
}

RunSignals::Update RunSignals::LargestUpdate(const StepRecord& record) {
  Update largest;
  for (size_t i = 0; i < weights_.size() && weights_[i] < static_cast<int>(record.tensors.size()); ++i) {
    const TensorStatistics& tensor = record.tensors[weights_[i]];
    if (!judged_weights_.Judge(i, tensor.weight_norm, record.step)) continue;
    const double ratio = tensor.update_norm / tensor.weight_norm;
    if (largest.step < 0 || !(ratio <= largest.ratio)) largest = {record.step, ratio, weights_[i]};
    if (std::isnan(ratio)) break;  // a broken update is worse than any
  }
  return largest;
}

void RunSignals::ObserveUpdate(const StepRecord& record) {
  if (!finite_) return;
  ObserveRate(record.learning_rate);
  if (record.level != v1::STATISTICS_LEVEL_FULL) {  // what was measured before says nothing about now
    update_ratio_ = std::numeric_limits<double>::quiet_NaN();
    ratios5_.Clear();
    ratios50_.Clear();
  }
  if (!UpdateWasMeasured(record)) return;
  const Update largest = LargestUpdate(record);
  if (largest.step < 0) return;
  last_update_ = largest;
  if (!std::isfinite(largest.ratio)) return;
  update_ratio_ = largest.ratio;
  ratios5_.Add(update_ratio_);
  ratios50_.Add(update_ratio_);
}

void RunSignals::ObserveRate(double rate) {
  rises_to_highest_ = rate > highest_rate_ ? rises_to_highest_ + 1 : 0;
  if (rate > kNewRate * highest_rate_) {
    highest_rate_ = rate;
    steps_since_highest_ = 0;
  } else if (++steps_since_highest_ >= kRateSteps) {
    top_rate_ = highest_rate_;
  }
}

void RunSignals::EndUpdate(const StepRecord& record) {
  const bool has_ratio = last_update_.step == record.step && std::isfinite(last_update_.ratio);
  if (!finite_ || !has_ratio || update_ratio_ <= 0) return;
  if (top_rate_ > 0 && record.learning_rate > kUsualRate * top_rate_) return;
  usual_ratios_.Add(update_ratio_);
  if (usual_ratios_.size() >= kFewest) usual_ratio_ = usual_ratios_.Median();
}

double RunSignals::LossOf(double l) const { return is_additive_ ? std::sinh(l) * loss_scale_ : std::exp(l); }

double RunSignals::usual_norm() const {
  return usual_norms_.usual().size() >= kFewest ? std::exp(usual_norms_.usual().Median()) : 0;
}

double RunSignals::recent_norm() const { return std::max({norm_, last_norms_[0], last_norms_[1]}); }

const std::string& RunSignals::NameOf(int tensor) const {
  static const std::string* const nobody = new std::string();
  return tensor >= 0 && tensor < static_cast<int>(tensor_names_.size()) ? tensor_names_[tensor] : *nobody;
}

}  // namespace gradwatch::core
