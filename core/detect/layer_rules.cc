#include "core/detect/layer_rules.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/detect/clip_words.h"
#include "core/detect/commands.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {
namespace {

// Factor on the learning rate to try first.
constexpr double kLowerRate = 0.1;
// Updates of this share of their weights are large, even where they are usual.
constexpr double kLargeUpdate = 1e-2;

// Those of this step; empty where none was measured on it.
std::span<const LayerStatistics> MeasuredLayers(const StepRecord& record) {
  return record.report_tensors ? std::span<const LayerStatistics>(record.layers) : std::span<const LayerStatistics>();
}

// By its name; where that is not known its place says which one it is.
std::string LayerText(int layer, size_t layers, const RunSignals& signals) {
  const std::vector<std::string>& names = signals.facts().layer_names;
  if (names.size() == layers) return absl::StrCat("layer ", names[layer]);
  return absl::StrCat("layer ", layer, " of ", layers, ", counted from 0 and forward,");
}

// The share of a layer that does not let a gradient pass; NaN: it has no function that could.
double ShareShut(const LayerStatistics& layer) {
  return std::isnan(layer.dead) ? layer.saturated : std::fmax(layer.dead, layer.saturated);
}

// Says which layer lets least of the gradient pass, or how to learn that.
void ExplainShutLayers(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const auto layers = MeasuredLayers(record);
  if (layers.empty()) {
    alert->add_diagnosis(
        absl::StrCat("Where the signal is lost is told by what goes through every layer, which `gradwatch watch ",
                     alert->job_id().empty() ? "JOB" : alert->job_id(),
                     " -o json` then shows under \"layers\"; measure it: ", LayerStatisticsCommand(*alert)));
    return;
  }
  int worst = -1;
  for (size_t i = 0; i < layers.size(); ++i) {
    const double least = worst < 0 ? 0 : ShareShut(layers[worst]);
    if (ShareShut(layers[i]) > least) worst = static_cast<int>(i);  // false for NaN
  }
  if (worst < 0) return;
  alert->add_diagnosis(absl::StrFormat("In %s %.0f%% is saturated or dead and lets no gradient pass.",
                                       LayerText(worst, layers.size(), signals), 100 * ShareShut(layers[worst])));
}

// Adds the cure of a lower rate where updates give reason for it. A lower rate does nothing for weights that are as
// they started.
void SuggestLowerRateForLargeUpdates(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const bool unusual = ExplainLastUpdate(record, signals, alert);
  const bool large = signals.usual_ratio() >= kLargeUpdate;
  if (large && !unusual) {
    alert->add_diagnosis(absl::StrFormat("Updates are large here, usually %s of their weights; about 0.001 is common.",
                                         Number(signals.usual_ratio())));
  }
  if (unusual || large || RateWasRaised(record, signals)) SuggestLowerRate(record, kLowerRate, signals, alert);
}

// NaN is larger than any number.
bool IsLarger(double a, double b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

// How many of `tensors`, in ascending order, the record has.
size_t TensorsOf(const StepRecord& record, const std::vector<int>& tensors) {
  const auto end = std::lower_bound(tensors.begin(), tensors.end(), static_cast<int>(record.tensors.size()));
  return static_cast<size_t>(end - tensors.begin());
}

// The position of a tensor that is among them.
size_t PositionOf(int tensor, const std::vector<int>& tensors) {
  return static_cast<size_t>(std::lower_bound(tensors.begin(), tensors.end(), tensor) - tensors.begin());
}

}  // namespace

Vanishing::Vanishing(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : min_mean_abs_(rule.vanishing().min_mean_abs()),
      tensors_(MatchingTensors(rule, tensor_names)),
      past_(tensors_.size()) {}

int64_t Vanishing::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  return static_cast<int64_t>(MatchingTensors(rule, tensor_names).size() * sizeof(Past));
}

const Vanishing::Past& Vanishing::PastOf(int tensor) const { return past_[PositionOf(tensor, tensors_)]; }

Verdict Vanishing::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict worst;
  if (record.level != v1::STATISTICS_LEVEL_FULL || !signals.finite()) return worst;
  worst.limit = min_mean_abs_;
  worst.low_is_bad = true;
  const size_t count = TensorsOf(record, tensors_);
  for (size_t i = 0; i < count; ++i) {
    const TensorStatistics& tensor = record.tensors[tensors_[i]];
    if (tensor.non_finite() > 0 || !std::isfinite(tensor.mean_abs)) continue;
    Past& past = past_[i];
    if (past.largest_step == kNever || tensor.mean_abs > past.largest) {
      past.largest = tensor.mean_abs;
      past.largest_step = record.step;
    }
    if (worst.kind == Verdict::Kind::kUnknown) worst.kind = Verdict::Kind::kQuiet;
    if (tensor.mean_abs >= min_mean_abs_) {
      past.below_since = kNever;
      continue;
    }
    if (past.below_since == kNever) past.below_since = record.step;
    if (worst.kind == Verdict::Kind::kHolds && tensor.mean_abs >= worst.value) continue;
    worst.kind = Verdict::Kind::kHolds;
    worst.value = tensor.mean_abs;
    worst.tensor = tensors_[i];
  }
  return worst;
}

void Vanishing::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  const Past& past = PastOf(verdict.tensor);
  alert->set_tensor(signals.NameOf(verdict.tensor));
  alert->set_summary(absl::StrFormat("the gradient of %s has mean magnitude %s, below the limit %s since step %d",
                                     alert->tensor(), Number(verdict.value), Number(min_mean_abs_), past.below_since));
  alert->add_diagnosis(
      past.largest < min_mean_abs_
          ? absl::StrFormat("It has never been larger than %s.", Number(past.largest))
          : absl::StrFormat("It was largest at step %d: %s.", past.largest_step, Number(past.largest)));
  ExplainWhere(record, signals, alert);
}

// Whether it is this tensor or all of them tells a signal that dies on its way from a loss that has reached its end.
void Vanishing::ExplainWhere(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) const {
  const size_t count = TensorsOf(record, tensors_);
  size_t below = 0;
  int largest = -1;
  for (size_t i = 0; i < count; ++i) {
    if (past_[i].below_since != kNever) ++below;
    if (largest < 0 || record.tensors[tensors_[i]].mean_abs > record.tensors[largest].mean_abs) largest = tensors_[i];
  }
  if (below == count) {
    alert->add_diagnosis(
        absl::StrFormat("The gradients of all %d tensors that this rule looks at are below it, with a loss of %s.",
                        count, Number(record.loss)));
  } else {
    alert->add_diagnosis(absl::StrFormat("So it is with %d of %d tensors; the largest mean magnitude is %s, of %s.",
                                         below, count, Number(record.tensors[largest].mean_abs),
                                         signals.NameOf(largest)));
  }
  ExplainShutLayers(record, signals, alert);
}

Growth::Growth(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : max_growth_(rule.growth().max_growth()) {}

Verdict Growth::Judge(const StepRecord& record, const RunSignals& /*signals*/) {
  Verdict verdict;
  const auto layers = MeasuredLayers(record);
  if (layers.empty()) return verdict;
  const LayerStatistics& output = layers.back();
  // From a gradient that is zero or broken already nothing can be told to have grown.
  if (!output.has_backward || !std::isfinite(output.backward_norm) || output.backward_norm <= 0) return verdict;
  verdict.kind = Verdict::Kind::kQuiet;
  verdict.limit = max_growth_;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!layers[i].has_backward) continue;
    const double growth = layers[i].backward_norm / output.backward_norm;
    if (growth <= std::max(verdict.value, max_growth_)) continue;  // false for NaN: worse than any
    verdict.kind = Verdict::Kind::kHolds;
    verdict.value = growth;
    worst_layer_ = static_cast<int>(i);
    if (std::isnan(growth)) break;
  }
  return verdict;
}

void Growth::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                      v1::Alert* alert) const {
  const auto layers = MeasuredLayers(record);
  alert->set_summary(absl::StrFormat(
      "the backward signal grows %s times on its way from the output to %s above the limit %s since step %d",
      Number(verdict.value), LayerText(worst_layer_, layers.size(), signals), Number(max_growth_),
      alert->first_step()));
  alert->add_diagnosis(absl::StrFormat("The gradient has norm %s at the output of the network and %s there.",
                                       Number(layers.back().backward_norm),
                                       Number(layers[worst_layer_].backward_norm)));
  int steepest = -1;
  for (size_t i = 0; i < layers.size(); ++i) {
    const double most = steepest < 0 ? 0 : layers[steepest].backward_growth;
    if (layers[i].backward_growth > most) steepest = static_cast<int>(i);  // false for NaN
  }
  if (steepest >= 0) {
    alert->add_diagnosis(absl::StrFormat("In a single layer it grows most in %s by %s times.",
                                         LayerText(steepest, layers.size(), signals),
                                         Number(std::exp(layers[steepest].backward_growth))));
  }
  alert->add_diagnosis(
      "The cure is another start: an initialisation that fits the activation (He for ReLU, Xavier for tanh, orthogonal "
      "for recurrent weights), normalisation or residual blocks. A running job can only be given smaller steps.");
  SuggestLowerRate(record, kLowerRate, signals, alert);
}

Saturation::Saturation(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : max_saturated_(rule.saturation().max_saturated()), max_dead_(rule.saturation().max_dead()) {}

Verdict Saturation::Judge(const StepRecord& record, const RunSignals& /*signals*/) {
  Verdict worst;
  const auto layers = MeasuredLayers(record);
  for (size_t i = 0; i < layers.size(); ++i) {
    for (const bool dead : {false, true}) {
      const double share = dead ? layers[i].dead : layers[i].saturated, limit = dead ? max_dead_ : max_saturated_;
      if (std::isnan(share)) continue;
      if (worst.kind == Verdict::Kind::kUnknown) worst.kind = Verdict::Kind::kQuiet;
      if (share <= limit) continue;
      if (worst.kind == Verdict::Kind::kHolds && share / limit <= worst.value / worst.limit) continue;
      worst.kind = Verdict::Kind::kHolds;
      worst.value = share;
      worst.limit = limit;
      worst_layer_ = static_cast<int>(i);
      worst_is_dead_ = dead;
    }
  }
  return worst;
}

void Saturation::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                          v1::Alert* alert) const {
  const auto layers = MeasuredLayers(record);
  alert->set_summary(absl::StrFormat("%.0f%% of %s %s, above the limit %.0f%% since step %d", 100 * verdict.value,
                                     LayerText(worst_layer_, layers.size(), signals),
                                     worst_is_dead_ ? "are dead" : "is saturated", 100 * verdict.limit,
                                     alert->first_step()));
  int above = 0;
  for (const LayerStatistics& layer : layers) {
    above += layer.dead > max_dead_ || layer.saturated > max_saturated_ ? 1 : 0;  // false for NaN
  }
  const LayerStatistics& worst = layers[worst_layer_];
  alert->add_diagnosis(
      absl::StrFormat("So it is with %d of %d layers. The outputs of this one have mean %s and standard "
                      "deviation %s.",
                      above, layers.size(), Number(worst.output_mean), Number(std::sqrt(worst.output_variance))));
  alert->add_diagnosis(
      worst_is_dead_
          ? "On this batch such a unit is 0 for every example and learns nothing; one that stays so on all batches "
            "is lost. Large updates do this: for another start a lower learning rate, a leaky activation or "
            "normalisation."
          : "On this batch such a unit lets almost no gradient pass. For another start scale the inputs, take smaller "
            "weights, or put a normalisation before it.");
  SuggestLowerRateForLargeUpdates(record, signals, alert);
}

Attention::Attention(const v1::Rule& rule, const std::vector<std::string>& /*tensor_names*/)
    : max_logit_(rule.attention().max_logit()), min_entropy_(rule.attention().min_entropy()) {}

bool Attention::HasLargeLogit(const LayerStatistics& layer) const {
  return layer.has_attention && !(layer.largest_logit <= max_logit_);  // NaN is worse than any
}

bool Attention::HasLowEntropy(const LayerStatistics& layer) const {
  return layer.attention_entropy < min_entropy_;  // false for NaN
}

Verdict Attention::Judge(const StepRecord& record, const RunSignals& /*signals*/) {
  Verdict verdict;
  const auto layers = MeasuredLayers(record);
  int large = -1, low = -1;  // the worst layers of either kind
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerStatistics& layer = layers[i];
    if (!layer.has_attention) continue;
    verdict.kind = Verdict::Kind::kQuiet;
    if (HasLargeLogit(layer) && (large < 0 || IsLarger(layer.largest_logit, layers[large].largest_logit))) {
      large = static_cast<int>(i);
    }
    if (HasLowEntropy(layer) && (low < 0 || layer.attention_entropy < layers[low].attention_entropy)) {
      low = static_cast<int>(i);
    }
  }
  if (large < 0 && low < 0) return verdict;
  worst_is_entropy_ = large < 0;
  worst_layer_ = worst_is_entropy_ ? low : large;
  verdict.kind = Verdict::Kind::kHolds;
  verdict.value = worst_is_entropy_ ? layers[low].attention_entropy : layers[large].largest_logit;
  verdict.limit = worst_is_entropy_ ? min_entropy_ : max_logit_;
  verdict.low_is_bad = worst_is_entropy_;
  return verdict;
}

void Attention::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                         v1::Alert* alert) const {
  const auto layers = MeasuredLayers(record);
  const std::string where = LayerText(worst_layer_, layers.size(), signals), value = Number(verdict.value);
  const std::string limit = absl::StrFormat("the limit %s since step %d", Number(verdict.limit), alert->first_step());
  alert->set_summary(
      worst_is_entropy_
          ? absl::StrFormat("the entropy of the attention in %s is %s of the largest there could be, below %s", where,
                            value, limit)
          : absl::StrFormat("the largest logit of the attention in %s is %s, above %s", where, value, limit));
  int all = 0, broken = 0;
  for (const LayerStatistics& layer : layers) {
    all += layer.has_attention ? 1 : 0;
    broken += HasLargeLogit(layer) || HasLowEntropy(layer) ? 1 : 0;
  }
  alert->add_diagnosis(absl::StrFormat("So it is with %d of %d layers with attention. %s", broken, all,
                                       OtherFigure(layers[worst_layer_])));
  alert->add_diagnosis(
      worst_is_entropy_
          ? "Nearly every query looks at one key alone: almost no gradient passes through such a softmax, "
            "and where else to look is learnt slowly, if at all."
      : std::isnan(verdict.value)
          ? "A weight of this layer or what comes into it is not finite, or their products overflow."
          : "Queries and keys grow: the softmax turns into a choice of one key, and such runs often diverge.");
  alert->add_diagnosis(
      "For another start a lower learning rate or a longer warm-up, or queries and keys that are normalised before "
      "their product.");
  SuggestLowerRate(record, kLowerRate, signals, alert);
}

std::string Attention::OtherFigure(const LayerStatistics& worst) const {
  if (worst_is_entropy_) return absl::StrCat("The largest logit of this one is ", Number(worst.largest_logit), ".");
  if (std::isnan(worst.attention_entropy)) return "The entropy of its weights is not known.";
  return absl::StrCat("The entropy of its weights is ", Number(worst.attention_entropy), " of the largest.");
}

Frozen::Frozen(const v1::Rule& rule, const std::vector<std::string>& tensor_names)
    : max_share_(rule.frozen().max_share()), tensors_(MatchingTensors(rule, tensor_names)), past_(tensors_.size()) {}

int64_t Frozen::HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  return static_cast<int64_t>(MatchingTensors(rule, tensor_names).size() * sizeof(Past));
}

const Frozen::Past& Frozen::PastOf(int tensor) const { return past_[PositionOf(tensor, tensors_)]; }

Frozen::Motion Frozen::MotionOf(const StepRecord& record, const TensorStatistics& tensor, const Past& past) {
  if (tensor.non_finite() > 0) return Motion::kUnknown;
  if (tensor.l2_norm == 0) return Motion::kZeroGradient;
  const bool judged = record.level == v1::STATISTICS_LEVEL_FULL && WasUpdated(record) && record.learning_rate > 0;
  if (!judged) return past.motion == Motion::kZeroUpdate ? Motion::kUnknown : Motion::kMoves;
  return tensor.update_norm == 0 ? Motion::kZeroUpdate : Motion::kMoves;
}

void Frozen::Remember(int64_t step, Motion motion, Past* past) {
  if (motion == Motion::kUnknown) return;
  past->motion = motion;
  if (motion == Motion::kMoves) {
    past->last_moved = step;
    past->frozen_since = kNever;
  } else if (past->frozen_since == kNever) {
    past->frozen_since = step;
  }
}

Verdict Frozen::Judge(const StepRecord& record, const RunSignals& signals) {
  Verdict verdict;
  // Where the network has a gradient and no tensor has, tensors were not measured.
  if (!signals.finite() || (record.grad_norm > 0 && LargestTensor(record) < 0)) return verdict;
  const bool learnt = record.loss == 0 && record.grad_norm == 0;
  const size_t count = TensorsOf(record, tensors_);
  size_t unknown = 0;
  for (size_t i = 0; i < count; ++i) {
    Past& past = past_[i];
    const Motion motion = learnt ? Motion::kMoves : MotionOf(record, record.tensors[tensors_[i]], past);
    Remember(record.step, motion, &past);
    unknown += motion == Motion::kUnknown ? 1 : 0;
    if (motion != Motion::kZeroGradient && motion != Motion::kZeroUpdate) continue;
    ++verdict.value;
    if (verdict.tensor < 0 || past.frozen_since < PastOf(verdict.tensor).frozen_since) verdict.tensor = tensors_[i];
  }
  verdict.limit = max_share_ * static_cast<double>(count);
  if (verdict.value > verdict.limit) {
    verdict.kind = Verdict::Kind::kHolds;
  } else if (count > 0 && verdict.value + static_cast<double>(unknown) <= verdict.limit) {
    verdict.kind = Verdict::Kind::kQuiet;
  }
  return verdict;
}

void Frozen::Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                      v1::Alert* alert) const {
  const Past& past = PastOf(verdict.tensor);
  const bool no_gradient = past.motion == Motion::kZeroGradient;
  alert->set_tensor(signals.NameOf(verdict.tensor));
  alert->set_summary(absl::StrFormat("the %s of %s has been zero in all elements since step %d",
                                     no_gradient ? "gradient" : "update", alert->tensor(), past.frozen_since));
  alert->add_diagnosis(past.last_moved == kNever
                           ? std::string("It has not moved since the job began or the rule was set.")
                           : absl::StrFormat("It last moved at step %d.", past.last_moved));
  ExplainHowMany(record, verdict, alert);
  if (no_gradient) {
    alert->add_diagnosis(
        "Nothing of the loss comes back to it: units behind it are dead, or its outputs are not used.");
    ExplainShutLayers(record, signals, alert);
    if (past.last_moved == kNever || verdict.value <= 1) return;
    alert->add_diagnosis("Dead units do not come back, whatever is changed now: start the job again.");
    return SuggestLowerRateOfAnotherStart(record, kLowerRate, signals, alert);
  }
  ExplainZeroUpdate(record, verdict.tensor, signals, alert);
}

void Frozen::ExplainHowMany(const StepRecord& record, const Verdict& verdict, v1::Alert* alert) const {
  if (verdict.value <= 1) return;
  alert->add_diagnosis(absl::StrFormat("%.0f of %d tensors that this rule looks at do not move.", verdict.value,
                                       TensorsOf(record, tensors_)));
}

// The gradient is there and so is a rate: what they make is less than half the last digit of each weight, or of nothing
// that a number could tell.
void Frozen::ExplainZeroUpdate(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert) {
  const TensorStatistics& statistics = record.tensors[static_cast<size_t>(tensor)];
  const bool rounded_away = statistics.weight_norm > 0;
  alert->add_diagnosis(absl::StrFormat(
      "The learning rate is %s and the gradient is not zero, its norm is %s: %s.", Number(record.learning_rate),
      Number(statistics.l2_norm),
      rounded_away
          ? absl::StrFormat("the update is too small to change weights of norm %s", Number(statistics.weight_norm))
          : std::string("the update is too small to be a number")));
  if (rounded_away && RateWasLowered(record, signals)) return SuggestHigherRate(record, signals, alert);
  if (IsLimited(record.clip_in_force.Of(tensor))) {
    alert->add_diagnosis(absl::StrCat(ClippingInForce(record.clip_in_force, tensor, signals.NameOf(tensor)),
                                      " Look whether that leaves anything of this gradient."));
  }
  alert->add_diagnosis(
      "Look at what makes the gradient of this layer so small, as saturated units behind it do, or outputs that are "
      "scaled down: by what is known of this run a higher rate is no cure.");
}

}  // namespace gradwatch::core
