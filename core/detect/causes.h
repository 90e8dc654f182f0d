// Why: what was measured of a run, and the lines of an alert that say it.
#ifndef GRADWATCH_CORE_DETECT_CAUSES_H_
#define GRADWATCH_CORE_DETECT_CAUSES_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "core/detect/run_signals.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// A norm this many times the usual one has left it.
inline constexpr double kRaisedNorm = 3;

// --- What was measured ---

// Whether the name is that of a weight that is multiplied by once per time step.
bool IsRecurrentWeight(absl::string_view name);

// Growth of the gradient from the place nearest the output to the one nearest the input.
struct GradientGrowth {
  double total;     // of the whole way
  double per_step;  // geometric mean over the ways between two places
  int places;
  int first, last;  // tensors; -1: measured between layers
};

// By the gradients of the weights that are of one kind, of the kind that grows most. Nothing: they do not grow
// steadily.
std::optional<GradientGrowth> GrowthOfWeights(const StepRecord& record, const RunSignals& signals);
// By the backward signals where layers were measured on this step, else the same.
std::optional<GradientGrowth> GrowthThroughDepth(const StepRecord& record, const RunSignals& signals);

// The last update, if it is one that may explain the present step.
std::optional<RunSignals::Update> RecentUpdate(const StepRecord& record, const RunSignals& signals);
// Whether it is above 3 times what is usual, or in the first 20 steps above a tenth of its weights.
bool IsUnusualUpdate(const RunSignals::Update& update, const RunSignals& signals);
// How many times its usual the gradient was that this update came from; 0: not known.
double GradientBehind(const RunSignals::Update& update, const StepRecord& record, const RunSignals& signals);
// Whether the last update was unusual, and no gradient was large that could be why.
bool RateIsToBlame(const StepRecord& record, const RunSignals& signals);

// The highest rate that the run has had for more than some steps (RunSignals::top_rate), or when its loss was best; 0:
// not known.
double HighestRateBefore(const RunSignals& signals);
// Whether the learning rate is higher than when the loss was best, by half or more; whether it is a tenth or less of
// the highest before. Never both.
bool RateWasRaised(const StepRecord& record, const RunSignals& signals);
bool RateWasLowered(const StepRecord& record, const RunSignals& signals);

// Whether clipping limits what comes of this tensor's gradient (-1: of any) while the learning rate was raised since
// the loss was best: then a large update is the rate's doing, however large the gradient is.
bool RateOutdoesClipping(const StepRecord& record, int tensor, const RunSignals& signals);

// --- The lines that say it ---

// Why gradients are too large: the share of the tensor, recurrence, growth through the layers, the last update, since
// when. One line each, as far as it applies; if none does, one that says what was looked at.
void ExplainLargeGradient(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert);

// Adds a line which says that a global norm above `limit` is as usual: below twice its median, which has not grown
// since the loss was best. Then there is nothing to cure. Returns whether a line was added; none is before the usual
// norms are ready.
bool ExplainUsualNorm(double norm, double limit, const RunSignals& signals, v1::Alert* alert);

// Adds a line about the last update if it was unusually large against its weights (IsUnusualUpdate). It blames the
// learning rate unless the gradient was large already. An update that is older than the step before is told as such,
// one of long ago not at all. Returns whether a line was added.
bool ExplainLastUpdate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert);

// Adds a line that says which of loss, gradient norm and update are far above their usual, for how many steps, how fast
// they grew and which came first. Returns for how many steps the first of them is; 0: none is, or what is usual is not
// known yet, and no line was added.
int ExplainRise(const StepRecord& record, const RunSignals& signals, v1::Alert* alert);

// The line about an input that was out of scale in the first batch; empty: none was, or inputs are not known.
std::string LargeInputInWords(const RunSignals& signals);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_CAUSES_H_
