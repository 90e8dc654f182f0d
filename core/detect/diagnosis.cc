#include "core/detect/diagnosis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/detect/clip_words.h"
#include "core/detect/commands.h"

namespace gradwatch::core {
namespace {

constexpr absl::string_view kCure = "Try ";
constexpr char kCommand[] = ": gradwatch ";  // what a cure ends with, if it has a command

// A tensor with this share of the squared norm is what the norm is about.
constexpr double kDominantShare = 0.5;

// The gradient grows through the layers if it is this many times larger near the input than near the output.
constexpr double kNotableGrowth = 10;
// Places at which it must have been seen for that, and the share of the ways between them on which it must grow: a
// single pair may differ by the shapes of its weights alone.
constexpr int kGrowthPlaces = 3;
constexpr double kGrowthShare = 0.75;

// An update is unusual at this many times the usual one, but not below what harms nobody.
constexpr double kUnusualUpdate = 3;
constexpr double kHarmlessUpdate = 0.003;
// So many updates show what is usual; before, an update is unusual at this ratio to its weights.
constexpr int kUsualUpdates = 20;
constexpr double kLargeFirstUpdate = 0.1;
// An update that was followed by so many steps of which none is known explains nothing.
constexpr int64_t kOldUpdate = 20;

// A norm or a loss this many times the usual one has left it.
constexpr double kRaisedNorm = 3;
constexpr double kRaisedLoss = 1.5;
// A norm below this many medians is as usual.
constexpr double kUsualNorm = 2;
// An update of so many times the weights leaves nothing of them.
constexpr double kReplacingUpdate = 1;

// Threshold to suggest, in medians of the norm. Pascanu et al. 2013 name 0.5 to 10 times the average.
constexpr double kClipFactor = 5;
constexpr double kRateFactor = 0.1;
// After an update that replaced the weights: the ratio to aim at for a start, as far as the rate is to blame.
constexpr double kRatioToStartWith = 0.1;
// Before so many steps nothing is learnt.
constexpr int64_t kFewSteps = 10;
// A rate this many times that of when the loss was best was raised since; at this share of what it was, lowered.
constexpr double kRaisedRate = 1.5;
constexpr double kLoweredRate = 0.1;

bool IsRecurrentWeight(absl::string_view name) {
  return absl::StrContains(name, "weight_hh") || absl::StrContains(name, "recurrent");
}

// Whether the name is that of a matrix or a kernel through which the signal goes from layer to layer. Names are all
// that is known here: rank, width and place are not.
bool IsLayerWeight(absl::string_view name) {
  if (!absl::EndsWith(name, "weight") && !absl::EndsWith(name, "weight_ih")) return false;
  if (IsRecurrentWeight(name)) return false;
  static constexpr std::array<absl::string_view, 7> kOthers = {"norm", "bn", "ln_", "embed", "wte", "wpe", "scale"};
  return std::none_of(kOthers.begin(), kOthers.end(),
                      [name](absl::string_view other) { return absl::StrContains(name, other); });
}

// A name without its numbers: what "dense1.weight" and "dense12.weight" have in common.
std::string KindOf(absl::string_view name) {
  std::string kind;
  for (const char c : name) {
    if (!absl::ascii_isdigit(c)) kind += c;
  }
  return kind;
}

// Growth of the gradient from the place nearest the output to the one nearest the input.
struct Growth {
  double total;     // of the whole way
  double per_step;  // geometric mean over the ways between two places
  int places;
  int first, last;  // tensors; -1: measured between layers
};

// Of norms from the input to the output, all above 0 and finite; nothing where it is no steady growth.
std::optional<Growth> SteadyGrowth(const std::vector<double>& norms) {
  const auto places = static_cast<int>(norms.size());
  if (places < kGrowthPlaces) return std::nullopt;
  const double total = norms.front() / norms.back();
  if (!(total >= kNotableGrowth) || !std::isfinite(total)) return std::nullopt;
  int growing = 0;
  for (size_t i = 1; i < norms.size(); ++i) growing += norms[i - 1] > norms[i] ? 1 : 0;
  if (growing < kGrowthShare * (places - 1)) return std::nullopt;
  return Growth{total, std::pow(total, 1.0 / (places - 1)), places, -1, -1};
}

bool IsNorm(double value) { return value > 0 && std::isfinite(value); }

// Of the backward signals, measured where they are.
std::optional<Growth> GrowthOfLayers(const StepRecord& record) {
  std::vector<double> norms;
  for (const LayerStatistics& layer : record.layers) {
    if (layer.has_backward && IsNorm(layer.backward_norm)) norms.push_back(layer.backward_norm);
  }
  return SteadyGrowth(norms);
}

// Of the gradients of the weights that are of one kind: of the kind that grows most.
std::optional<Growth> GrowthOfWeights(const StepRecord& record, const RunSignals& signals) {
  struct Kind {
    std::string name;
    int first, last;
    std::vector<double> norms;
  };
  std::vector<Kind> kinds;
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    const int tensor = static_cast<int>(i);
    const std::string& name = signals.NameOf(tensor);
    if (!IsLayerWeight(name) || !IsNorm(record.tensors[i].l2_norm)) continue;
    const std::string kind = KindOf(name);
    auto found = std::find_if(kinds.begin(), kinds.end(), [&kind](const Kind& other) { return other.name == kind; });
    if (found == kinds.end()) found = kinds.insert(kinds.end(), {kind, tensor, tensor, {}});
    found->last = tensor;
    found->norms.push_back(record.tensors[i].l2_norm);
  }
  std::optional<Growth> most;
  for (const Kind& kind : kinds) {
    std::optional<Growth> growth = SteadyGrowth(kind.norms);
    if (!growth.has_value() || (most.has_value() && most->total >= growth->total)) continue;
    most = growth;
    most->first = kind.first;
    most->last = kind.last;
  }
  return most;
}

std::optional<Growth> GrowthOf(const StepRecord& record, const RunSignals& signals) {
  const bool measured = record.report_tensors && !record.layers.empty();
  return measured ? GrowthOfLayers(record) : GrowthOfWeights(record, signals);
}

std::string GrowthInWords(const Growth& growth, const RunSignals& signals) {
  if (growth.first < 0) {
    return absl::StrFormat(
        "The backward signal, as measured at %d layers, grows towards the input: %s times in all, %s times a layer.",
        growth.places, Number(growth.total), Number(growth.per_step));
  }
  return absl::StrFormat(
      "The gradient seems to grow towards the input: %s times from %s to %s, some %s times a layer, by the norms of %d "
      "weights of one kind (an estimate; layer statistics measure it).",
      Number(growth.total), signals.NameOf(growth.last), signals.NameOf(growth.first), Number(growth.per_step),
      growth.places);
}

// Share of a tensor in the squared global norm.
double ShareOf(const StepRecord& record, int tensor) {
  if (tensor < 0 || tensor >= static_cast<int>(record.tensors.size()) || !(record.grad_norm > 0)) return 0;
  const double part = record.tensors[tensor].l2_norm / record.grad_norm;
  return part * part;
}

// What is said of a share that is not dominant, or not known.
std::string ShareInWords(absl::string_view name, double share) {
  if (name.empty() || !(share > 0)) return "No tensor is known to stand out";
  return absl::StrFormat("%s holds %.0f%% of the squared gradient norm, no more than the others together", name,
                         100 * share);
}

// The last update, if it is one that may explain the present step.
std::optional<RunSignals::Update> RecentUpdate(const StepRecord& record, const RunSignals& signals) {
  const RunSignals::Update& update = signals.last_update();
  if (update.step < 0 || record.step - update.step > kOldUpdate) return std::nullopt;
  return update;
}

bool HasUsualUpdate(const RunSignals& signals) {
  return signals.ratios50().size() >= kUsualUpdates && signals.usual_ratio() > 0;
}

bool IsUnusual(const RunSignals::Update& update, const RunSignals& signals) {
  if (!HasUsualUpdate(signals)) return update.ratio > kLargeFirstUpdate;
  return update.ratio > std::max(kHarmlessUpdate, kUnusualUpdate * signals.usual_ratio());
}

// Whether the update that the present step started from is known, so that it can be ruled out.
bool KnowsUpdateBefore(const StepRecord& record, const RunSignals& signals) {
  return record.step == 0 || signals.last_update().step >= record.step - 1;
}

// How many times its usual the gradient was that this update came from; 0: not known.
double GradientBehind(const RunSignals::Update& update, const StepRecord& record, const RunSignals& signals) {
  const double usual = signals.usual_norm();
  if (usual == 0) return 0;
  if (update.step == record.step) return record.grad_norm / usual;
  const RunSignals::FiniteStep& last = signals.last_finite();
  return last.step == update.step ? last.grad_norm / usual : 0;
}

// A series that has left what was usual of it.
struct Rise {
  std::string what;       // "the loss"
  std::string usual;      // "0.7"
  double factor;          // it is above this many times that
  int steps = 0;          // steps on which it was, up to the last one; 0: it is not
  bool at_least = false;  // and perhaps more than the window shows
  int age = 0;            // steps since it began
  double growth = 0;      // of its logarithm, a step since then
};

// Fills in how long the newest samples have been above a level, and how fast they grew from the last one that was not.
// `is_log`: samples are logarithms.
void MeasureRise(const SortedWindow& samples, double level, bool is_log, Rise* rise) {
  const int size = samples.size();
  while (rise->steps < size && samples.ByAge(size - 1 - rise->steps) > level) ++rise->steps;
  if (rise->steps == 0) return;
  rise->at_least = rise->steps == size;
  rise->age = rise->steps - 1;
  const int ways = rise->at_least ? rise->steps - 1 : rise->steps;
  if (ways == 0) return;
  const double first = samples.ByAge(size - 1 - ways), last = samples.ByAge(size - 1);
  rise->growth = (is_log ? last - first : std::log(last / first)) / ways;
}

// In the order in which causes go: of two that began together, the first is the likelier.
std::vector<Rise> RisesOf(const StepRecord& record, const RunSignals& signals) {
  std::vector<Rise> rises;
  const int64_t newest = signals.finite() ? record.step : signals.last_finite().step;  // loss and norm
  if (HasUsualUpdate(signals) && RecentUpdate(record, signals).has_value()) {
    Rise rise = {"the largest update", absl::StrCat(Number(signals.usual_ratio()), " of its weights"), kUnusualUpdate};
    const double level = std::max(kHarmlessUpdate, kUnusualUpdate * signals.usual_ratio());
    MeasureRise(signals.ratios50(), level, false, &rise);
    // Of the step before as long as the present one has no update.
    rise.age += static_cast<int>(std::max<int64_t>(0, newest - signals.last_update().step));
    rises.push_back(std::move(rise));
  }
  if (signals.usual_norms().ready()) {
    Rise rise = {"the gradient norm", Number(signals.usual_norm()), kRaisedNorm};
    MeasureRise(signals.norms50(), signals.usual_norms().usual().Median() + std::log(kRaisedNorm), true, &rise);
    rises.push_back(std::move(rise));
  }
  // Losses that go to 0 and below are not measured by factors.
  if (signals.usual_losses().ready() && !signals.is_additive()) {
    const double usual = signals.usual_losses().usual().Median();
    Rise rise = {"the loss", Number(signals.LossOf(usual)), kRaisedLoss};
    MeasureRise(signals.losses50(), usual + std::log(kRaisedLoss), true, &rise);
    rises.push_back(std::move(rise));
  }
  std::erase_if(rises, [](const Rise& rise) { return rise.steps == 0; });
  std::stable_sort(rises.begin(), rises.end(), [](const Rise& a, const Rise& b) { return a.age > b.age; });
  return rises;
}

std::string RiseInWords(const Rise& rise) {
  const std::string fast =
      std::isfinite(rise.growth) && rise.growth > 0 ? absl::StrCat(", ", GrowthAStep(rise.growth)) : "";
  return absl::StrFormat("%s has been above %s times its usual %s for %s%d step%s%s", rise.what, Number(rise.factor),
                         rise.usual, rise.at_least ? "at least " : "", rise.steps, rise.steps == 1 ? "" : "s", fast);
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

// Says what is in force and, where nothing limits the norm, what to try. Whether there is something to try.
bool SuggestClipping(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert) {
  const std::string& name = signals.NameOf(tensor);
  const std::string in_force = ClippingInForce(record.clip_in_force, tensor, name);
  if (!in_force.empty()) alert->add_diagnosis(in_force);
  const TensorClipping& clipping = record.clip_in_force.Of(tensor);
  if (IsLimited(clipping) || (!in_force.empty() && !clipping.own)) return false;
  const GoodNorm good = GoodNormOf(signals);
  const double threshold = good.norm > 0 ? kClipFactor * good.norm : 1;
  const std::string times =
      absl::StrFormat("%.0f times %s %s", kClipFactor, clipping.own ? "the global norm's" : "its", good.words);
  const double norm = NormToClip(record, tensor, clipping.own, signals);
  if (!(norm > threshold)) {
    if (good.norm > 0 && signals.finite()) {
      alert->add_diagnosis(absl::StrFormat("Clipping would not have changed this step: its norm, %s, is within %s.",
                                           Number(norm), times));
    }
    return false;
  }
  const std::string how = good.norm > 0 ? absl::StrFormat(" at %.2g, %s", threshold, times) : ", for a start at 1";
  const std::string what = clipping.own ? absl::StrCat("limiting ", name, " by itself") : "clipping the global norm";
  const std::string command = ClipCommand(*alert, clipping.own ? name : "", threshold);
  alert->add_diagnosis(absl::StrCat(kCure, what, how, command.empty() ? "." : absl::StrCat(": ", command)));
  return true;
}

// The highest rate that the run has had for more than some steps, or when its loss was best; 0: not known.
double RateBefore(const RunSignals& signals) { return std::max(signals.top_rate(), signals.best().learning_rate); }

// "Try a lower learning rate, for a start 0.05 instead of 0.5: gradwatch adjust mnist-7 --lr-scale 0.1".
void SuggestRate(const StepRecord& record, double factor, absl::string_view when, v1::Alert* alert) {
  const std::string command = RateCommand(*alert, record, factor);
  alert->add_diagnosis(absl::StrFormat("%sa %s learning rate%s, for a start %s instead of %s%s", kCure,
                                       factor < 1 ? "lower" : "higher", when, Number(factor * record.learning_rate),
                                       Number(record.learning_rate),
                                       command.empty() ? "." : absl::StrCat(": ", command)));
}

// Whether a line speaks of what its alert is about, or its rule, without a name.
bool IsOfItsAlert(absl::string_view line) {
  static constexpr std::array<absl::string_view, 3> kStarts = {"It ", "So ", "That "};
  return absl::StrContains(line, " this rule ") ||
         std::any_of(kStarts.begin(), kStarts.end(),
                     [line](absl::string_view start) { return absl::StartsWith(line, start); });
}

// What makes two lines the same: of a cure its command, if it has one; of a cause step and tensor as well.
std::string KeyOf(const std::string& line, const v1::Alert& alert) {
  if (!absl::StartsWith(line, kCure)) return absl::StrCat(alert.step(), " ", alert.tensor(), " ", line);
  const size_t command = line.find(kCommand);
  return command == std::string::npos ? line : line.substr(command);
}

// An alert may point to so many others: more would make a line longer than servers take.
constexpr size_t kMostSources = 3;

// As lists print it, and commands take it.
std::string ShortIdOf(const v1::Alert& alert) {
  return absl::StrCat(alert.job_id(), "/", alert.attempt(), "/", alert.rule(), "/", alert.episode());
}

// By what to lower a rate after this update: where it replaced the weights, and no gradient larger than usual was the
// reason, that it was so many times too large is measured.
double FactorAfter(const RunSignals::Update& update, const StepRecord& record, const RunSignals& signals) {
  const bool is_measured = std::isfinite(update.ratio) && update.ratio >= kReplacingUpdate;
  if (!is_measured || GradientBehind(update, record, signals) > kRaisedNorm) return kRateFactor;
  return kRatioToStartWith / update.ratio;
}

// Adds the cure of a lower rate; `after_another`: a likelier one stands before it.
void SuggestRateToo(const StepRecord& record, bool after_another, const RunSignals& signals, v1::Alert* alert) {
  const auto update = RecentUpdate(record, signals);
  const bool blamed = update.has_value() && IsUnusual(*update, signals);
  const double factor = update.has_value() ? FactorAfter(*update, record, signals) : kRateFactor;
  SuggestRate(record, factor, after_another && !blamed ? " if that does not help" : "", alert);
}

}  // namespace

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.3g", value);
}

std::string LargestIn(absl::string_view tensor_name) {
  return tensor_name.empty() ? "" : absl::StrCat("; largest in ", tensor_name);
}

std::string GrowthAStep(double log_growth) {
  constexpr double kManifold = 1.9;  // from which on a factor says more than a percentage
  const double factor = std::exp(log_growth);
  if (factor >= kManifold) return absl::StrCat(Number(factor), " times more a step");
  return absl::StrCat(Number(100 * std::expm1(log_growth)), "% more a step");
}

bool ExplainLastUpdate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const auto update = RecentUpdate(record, signals);
  if (!update.has_value() || !IsUnusual(*update, signals)) return false;
  const bool is_last = update->step >= record.step - 1;
  const std::string usual = HasUsualUpdate(signals) ? absl::StrFormat("%s times what the largest one usually is, %s",
                                                                      Number(update->ratio / signals.usual_ratio()),
                                                                      Number(signals.usual_ratio()))
                                                    : "and about 0.001 is common";
  const double gradient = GradientBehind(*update, record, signals);
  const std::string why =
      gradient > kRaisedNorm && !RateOutdoesClipping(record, update->tensor, signals)
          ? absl::StrFormat("its gradient norm was %s times the usual one", Number(gradient))
          : absl::StrFormat("the learning rate %s is likely too high", Number(record.learning_rate));
  alert->add_diagnosis(absl::StrFormat("The update of step %d%s changed %s by %s of its norm, %s: %s.", update->step,
                                       is_last ? "" : ", the last one that was measured,",
                                       signals.NameOf(update->tensor), Number(update->ratio), usual, why));
  return true;
}

int ExplainRise(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const std::vector<Rise> rises = RisesOf(record, signals);
  if (rises.empty()) return 0;
  std::string line =
      absl::StrJoin(rises, "; ", [](std::string* text, const Rise& rise) { absl::StrAppend(text, RiseInWords(rise)); });
  if (rises.size() > 1 && rises[0].age > rises[1].age) {
    absl::StrAppend(&line, ": ", rises[0].what, " rose first");
  }
  line[0] = absl::ascii_toupper(static_cast<unsigned char>(line[0]));
  alert->add_diagnosis(absl::StrCat(line, "."));
  return rises[0].age + 1;
}

void ExplainLargeGradient(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert) {
  const int lines = alert->diagnosis_size();
  const std::string& name = signals.NameOf(tensor);
  const double share = ShareOf(record, tensor);
  if (share >= kDominantShare) {
    alert->add_diagnosis(absl::StrFormat("%s holds %.0f%% of the squared gradient norm.", name, 100 * share));
  }
  if (IsRecurrentWeight(name)) {
    alert->add_diagnosis(absl::StrCat(name,
                                      " is a recurrent weight: the backward pass multiplies by it once per time step, "
                                      "so a gain above 1 grows exponentially with the length of the sequence."));
  }
  if (const auto growth = GrowthOf(record, signals); growth.has_value()) {
    alert->add_diagnosis(GrowthInWords(*growth, signals));
  }
  ExplainLastUpdate(record, signals, alert);
  const bool found = alert->diagnosis_size() > lines;
  const int steps = ExplainRise(record, signals, alert);
  if (found || steps > 1) return;
  const char* update = !KnowsUpdateBefore(record, signals) ? "and the update before this step was not measured."
                       : record.step == 0 ? "and no update came before: look at this batch and at how weights start."
                                          : "and no large update came before: an unusual batch is likely.";
  alert->add_diagnosis(absl::StrCat(ShareInWords(name, share), ", ", update));
}

bool ExplainUsualNorm(double norm, double limit, const RunSignals& signals, v1::Alert* alert) {
  const double usual = signals.usual_norm();
  // Of a few first steps nothing is usual yet.
  if (!signals.usual_norms().ready() || !(norm < kUsualNorm * usual)) return false;
  // What is usual is not well where the norm has grown since the loss was best.
  const RunSignals::Best& best = signals.best();
  if (best.step >= 0 && usual > kRaisedNorm * std::exp(best.norm)) return false;
  alert->add_diagnosis(absl::StrFormat(
      "The norm is as usual here, median %s over %d steps, and the limit %s lies %s: a limit above what is usual tells "
      "more.",
      Number(usual), signals.usual_norms().usual().size(), Number(limit),
      limit < usual ? "below it" : "within what it varies by"));
  return true;
}

bool RateWasRaised(const StepRecord& record, const RunSignals& signals) {
  const double then = signals.best().learning_rate;
  return then > 0 && record.learning_rate > kRaisedRate * then;
}

bool RateOutdoesClipping(const StepRecord& record, int tensor, const RunSignals& signals) {
  return IsLimited(record.clip_in_force.Of(tensor)) && RateWasRaised(record, signals);
}

bool RateWasLowered(const StepRecord& record, const RunSignals& signals) {
  return record.learning_rate > 0 && record.learning_rate <= kLoweredRate * RateBefore(signals) &&
         !RateWasRaised(record, signals);
}

void SuggestLowerRate(const StepRecord& record, double factor, const RunSignals& signals, v1::Alert* alert) {
  if (!(record.learning_rate > 0)) return;
  if (!RateWasRaised(record, signals)) return SuggestRate(record, factor, "", alert);
  const RunSignals::Best& best = signals.best();
  alert->add_diagnosis(absl::StrFormat("When the loss was best, at step %d, the learning rate was %s; it is %s now.",
                                       best.step, Number(best.learning_rate), Number(record.learning_rate)));
  if (signals.rate_rises()) {
    alert->add_diagnosis(
        "And it is still rising: a scale takes from the rates to come only what it takes from this one. Lower the top "
        "of the schedule too (optimizer.learning_rate).");
  }
  SuggestRate(record, best.learning_rate / record.learning_rate, "", alert);
}

void SuggestLowerRateOfAnotherStart(const StepRecord& record, double factor, const RunSignals& signals,
                                    v1::Alert* alert) {
  if (!(record.learning_rate > 0)) return;
  SuggestLowerRate(record, factor, signals, alert);
  std::string& cure = *alert->mutable_diagnosis()->rbegin();
  cure = ForTheSpec(cure);
}

void SuggestHigherRate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  if (!RateWasLowered(record, signals)) return;
  alert->add_diagnosis(absl::StrFormat("The learning rate was %s before; it is %s now.", Number(RateBefore(signals)),
                                       Number(record.learning_rate)));
  SuggestRate(record, 1 / kRateFactor, "", alert);
}

void SuggestCures(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert) {
  // Before the first update no rate has done anything yet.
  const bool none_yet = record.step == 0 && !RecentUpdate(record, signals).has_value();
  const bool rate_first = RateWasRaised(record, signals);
  if (rate_first) SuggestLowerRate(record, kRateFactor, signals, alert);
  const bool clip = SuggestClipping(record, tensor, signals, alert);
  if (!rate_first && !none_yet && record.learning_rate > 0) SuggestRateToo(record, clip, signals, alert);
  if (IsRecurrentWeight(signals.NameOf(tensor))) {
    alert->add_diagnosis(absl::StrCat(
        kCure,
        "to start recurrent weights as an orthogonal matrix, unless they do already, or use shorter sequences."));
  } else if (GrowthOf(record, signals).has_value()) {
    alert->add_diagnosis(
        absl::StrCat(kCure,
                     "an initialisation that fits the activation (He for ReLU, Xavier for tanh), unless it is one "
                     "already, or residual blocks."));
  }
}

void ExplainLostWeights(const StepRecord& record, const RunSignals& signals, v1::Alert* alert, double earlier_ratio) {
  const auto update = RecentUpdate(record, signals);
  const auto replaces = [](double ratio) { return !(ratio < kReplacingUpdate); };  // NaN too
  const bool replaced = replaces(earlier_ratio) || (update.has_value() && replaces(update->ratio));
  const bool broken =
      absl::c_any_of(record.tensors, [](const TensorStatistics& tensor) { return !std::isfinite(tensor.weight_norm); });
  if (!replaced && !broken) return;
  auto& lines = *alert->mutable_diagnosis();
  const auto first = absl::c_find_if(lines, [](const std::string& line) { return absl::StartsWith(line, kCure); });
  const auto place = first - lines.begin();
  std::for_each(first, lines.end(), [](std::string& line) { line = ForTheSpec(line); });
  const char* gone =
      record.step < kFewSteps ? "The weights that it started from are gone" : "What the weights had learnt is gone";
  alert->add_diagnosis(absl::StrCat(gone, ", and no change of the running job brings it back: start the job again",
                                    first == lines.end() ? "." : " with these values in its spec."));
  std::rotate(lines.begin() + place, lines.end() - 1, lines.end());
}

bool ToldLines::IsTold(const std::string& line, const v1::Alert& alert, std::vector<std::string>* by) {
  if (IsOfItsAlert(line)) return false;
  std::string key = KeyOf(line, alert);
  const auto told = std::find_if(told_.begin(), told_.end(), [&](const Line& other) { return other.key == key; });
  if (told == told_.end() || told->rule == alert.rule() || told->severity < alert.severity()) {
    Line now = {std::move(key), alert.rule(), ShortIdOf(alert), alert.severity(), alert.step()};
    if (told == told_.end()) {
      told_.push_back(std::move(now));
    } else {
      *told = std::move(now);
    }
    return false;
  }
  const std::string when = told->step == alert.step() ? "this step" : absl::StrCat("step ", told->step);
  std::string source = absl::StrCat("alert ", told->alert, " of ", when);
  if (absl::c_linear_search(*by, source)) return true;
  if (by->size() == kMostSources) return false;  // said twice rather than by none that is named
  by->push_back(std::move(source));
  return true;
}

void ToldLines::TellOnce(v1::Alert* alert) {
  std::erase_if(told_, [alert](const Line& line) { return line.step < alert->step() - kSteps; });
  std::vector<std::string> lines, by;
  bool causes = false, cures = false;  // whether any were told
  for (std::string& line : *alert->mutable_diagnosis()) {
    if (IsTold(line, *alert, &by)) {
      (absl::StartsWith(line, kCure) ? cures : causes) = true;
    } else {
      lines.push_back(std::move(line));
    }
  }
  alert->mutable_diagnosis()->Assign(lines.begin(), lines.end());
  if (by.empty()) return;
  const char* what = !causes ? "Cures" : cures ? "More of why, and cures" : "More of why";
  alert->add_diagnosis(absl::StrCat(what, ": see ", absl::StrJoin(by, " and "), "."));
}

}  // namespace gradwatch::core
