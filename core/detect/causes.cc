#include "core/detect/causes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/detect/clip_words.h"
#include "core/detect/words.h"

namespace gradwatch::core {
namespace {

// A tensor with this share of the squared norm is what the norm is about.
constexpr double kDominantShare = 0.5;

// The gradient grows through the layers if it is this many times larger near the input than near the output.
constexpr double kNotableGrowth = 10;
// Places at which it must have been seen for that, and the share of the ways between them on which it must grow: a
// single pair may differ by the shapes of its weights alone.
constexpr int kGrowthPlaces = 3;
constexpr double kGrowthShare = 0.75;
// Or at so many places a line through the logarithms of the norms must fall by so many times its standard error: layers
// differ by more than what each adds, and functions between them take back a part of it.
constexpr int kTrendPlaces = 6;
constexpr double kTrendErrors = 3;

// An update is unusual at this many times the usual one, but not below what harms nobody.
constexpr double kUnusualUpdate = 3;
constexpr double kHarmlessUpdate = 0.003;
// So many updates show what is usual; before, an update is unusual at this ratio to its weights.
constexpr int kUsualUpdates = 20;
constexpr double kLargeFirstUpdate = 0.1;
// An update that was followed by so many steps of which none is known explains nothing.
constexpr int64_t kOldUpdate = 20;

// A loss this many times the usual one has left it.
constexpr double kRaisedLoss = 1.5;
// A norm below this many medians is as usual.
constexpr double kUsualNorm = 2;
// A rate this many times that of when the loss was best was raised since; at this share of what it was, lowered.
constexpr double kRaisedRate = 1.5;
constexpr double kLoweredRate = 0.1;
// What first_step calls a large input, unless its rule says otherwise (rule_fields.cc).
constexpr double kLargeInput = 100;

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

// By how many times its standard error a line through the logarithms of these norms falls from the first to the last.
double FallInErrors(const std::vector<double>& norms) {
  const auto count = static_cast<double>(norms.size());
  const double middle = (count - 1) / 2;
  double mean = 0, across = 0, along = 0, squares = 0;
  for (const double norm : norms) mean += std::log(norm) / count;
  for (size_t i = 0; i < norms.size(); ++i) {
    const double x = static_cast<double>(i) - middle, y = std::log(norms[i]) - mean;
    along += x * x;
    across -= x * y;
    squares += y * y;
  }
  const double rest = squares - across * across / along;  // that the line leaves
  return across / std::sqrt(along) / std::sqrt(std::max(rest, 1e-12 * squares) / (count - 2));
}

// Of norms from the input to the output, all above 0 and finite; nothing where it is no steady growth.
std::optional<GradientGrowth> SteadyGrowth(const std::vector<double>& norms) {
  const auto places = static_cast<int>(norms.size());
  if (places < kGrowthPlaces) return std::nullopt;
  const double total = norms.front() / norms.back();
  if (!(total >= kNotableGrowth) || !std::isfinite(total)) return std::nullopt;
  int growing = 0;
  for (size_t i = 1; i < norms.size(); ++i) growing += norms[i - 1] > norms[i] ? 1 : 0;
  const bool is_trend = places >= kTrendPlaces && FallInErrors(norms) >= kTrendErrors;
  if (growing < kGrowthShare * (places - 1) && !is_trend) return std::nullopt;
  return GradientGrowth{total, std::pow(total, 1.0 / (places - 1)), places, -1, -1};
}

bool IsNorm(double value) { return value > 0 && std::isfinite(value); }

// Of the backward signals, measured where they are.
std::optional<GradientGrowth> GrowthOfLayers(const StepRecord& record) {
  std::vector<double> norms;
  for (const LayerStatistics& layer : record.layers) {
    if (layer.has_backward && IsNorm(layer.backward_norm)) norms.push_back(layer.backward_norm);
  }
  return SteadyGrowth(norms);
}

std::string GrowthInWords(const GradientGrowth& growth, const RunSignals& signals) {
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

bool HasUsualUpdate(const RunSignals& signals) {
  return signals.ratios50().size() >= kUsualUpdates && signals.usual_ratio() > 0;
}

// Whether the update that the present step started from is known, so that it can be ruled out.
bool KnowsUpdateBefore(const StepRecord& record, const RunSignals& signals) {
  return record.step == 0 || signals.last_update().step >= record.step - 1;
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

}  // namespace

bool IsRecurrentWeight(absl::string_view name) {
  return absl::StrContains(name, "weight_hh") || absl::StrContains(name, "recurrent");
}

std::optional<GradientGrowth> GrowthOfWeights(const StepRecord& record, const RunSignals& signals) {
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
  std::optional<GradientGrowth> most;
  for (const Kind& kind : kinds) {
    std::optional<GradientGrowth> growth = SteadyGrowth(kind.norms);
    if (!growth.has_value() || (most.has_value() && most->total >= growth->total)) continue;
    most = growth;
    most->first = kind.first;
    most->last = kind.last;
  }
  return most;
}

std::optional<GradientGrowth> GrowthThroughDepth(const StepRecord& record, const RunSignals& signals) {
  const bool measured = record.report_tensors && !record.layers.empty();
  return measured ? GrowthOfLayers(record) : GrowthOfWeights(record, signals);
}

std::optional<RunSignals::Update> RecentUpdate(const StepRecord& record, const RunSignals& signals) {
  const RunSignals::Update& update = signals.last_update();
  if (update.step < 0 || record.step - update.step > kOldUpdate) return std::nullopt;
  return update;
}

bool IsUnusualUpdate(const RunSignals::Update& update, const RunSignals& signals) {
  if (!HasUsualUpdate(signals)) return update.ratio > kLargeFirstUpdate;
  return update.ratio > std::max(kHarmlessUpdate, kUnusualUpdate * signals.usual_ratio());
}

double GradientBehind(const RunSignals::Update& update, const StepRecord& record, const RunSignals& signals) {
  const double usual = signals.usual_norm();
  if (usual == 0) return 0;
  if (update.step == record.step) return record.grad_norm / usual;
  const RunSignals::FiniteStep& last = signals.last_finite();
  return last.step == update.step ? last.grad_norm / usual : 0;
}

bool ExplainLastUpdate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) {
  const auto update = RecentUpdate(record, signals);
  if (!update.has_value() || !IsUnusualUpdate(*update, signals)) return false;
  const bool is_last = update->step >= record.step - 1;
  const std::string usual = HasUsualUpdate(signals) ? absl::StrFormat("%s times what the largest one usually is, %s",
                                                                      Number(update->ratio / signals.usual_ratio()),
                                                                      Number(signals.usual_ratio()))
                                                    : "and about 0.001 is common";
  const std::string why = RateIsToBlame(record, signals)
                              ? absl::StrFormat("the learning rate %s is likely too high", Number(record.learning_rate))
                              : absl::StrFormat("its gradient norm was %s times the usual one",
                                                Number(GradientBehind(*update, record, signals)));
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
  if (const auto growth = GrowthThroughDepth(record, signals); growth.has_value()) {
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

std::string LargeInputInWords(const RunSignals& signals) {
  const RunFacts& facts = signals.facts();
  if (!(facts.input_scale > kLargeInput)) return "";
  return absl::StrFormat(
      "The input %s was as large as %s (root mean square) in the first batch: loss and gradients grow with an "
      "input, and the highest stable learning rate falls with its square.",
      facts.largest_input, Number(facts.input_scale));
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

bool RateIsToBlame(const StepRecord& record, const RunSignals& signals) {
  const auto update = RecentUpdate(record, signals);
  if (!update.has_value() || !IsUnusualUpdate(*update, signals)) return false;
  const bool was_large = GradientBehind(*update, record, signals) > kRaisedNorm;  // false for NaN
  return !was_large || RateOutdoesClipping(record, update->tensor, signals);
}

double HighestRateBefore(const RunSignals& signals) {
  return std::max(signals.top_rate(), signals.best().learning_rate);
}

bool RateWasRaised(const StepRecord& record, const RunSignals& signals) {
  const double then = signals.best().learning_rate;
  return then > 0 && record.learning_rate > kRaisedRate * then;
}

bool RateOutdoesClipping(const StepRecord& record, int tensor, const RunSignals& signals) {
  return IsLimited(record.clip_in_force.Of(tensor)) && RateWasRaised(record, signals);
}

bool RateWasLowered(const StepRecord& record, const RunSignals& signals) {
  return record.learning_rate > 0 && record.learning_rate <= kLoweredRate * HighestRateBefore(signals) &&
         !RateWasRaised(record, signals);
}

}  // namespace gradwatch::core
