// The lines of an alert that say why, as far as the reports tell, and what to try.
#ifndef GRADWATCH_CORE_DETECT_DIAGNOSIS_H_
#define GRADWATCH_CORE_DETECT_DIAGNOSIS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/detect/run_signals.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// A number for people: three digits, NaN, +Inf or -Inf.
std::string Number(double value);
// One step of a few words: "; largest in rnn0.weight_hh", or "" without a name.
std::string LargestIn(absl::string_view tensor_name);

// How fast something grows whose logarithm grows by this, above 0, a step: "2.71 times more a step", "3% more a step".
std::string GrowthAStep(double log_growth);

// Why gradients are too large: the share of the tensor, recurrence, growth through the layers, the last update, since
// when. One line each, as far as it applies; if none does, one that says what was looked at.
void ExplainLargeGradient(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert);

// Adds a line which says that a global norm above `limit` is as usual: below twice its median, which has not grown
// since the loss was best. Then there is nothing to cure. Returns whether a line was added; none is before the usual
// norms are ready.
bool ExplainUsualNorm(double norm, double limit, const RunSignals& signals, v1::Alert* alert);

// Adds a line about the last update if it was unusually large against its weights: above 3 times what is usual, or in
// the first 20 steps above a tenth. It blames the learning rate unless the gradient was large already. An update that
// is older than the step before is told as such, one of long ago not at all. Returns whether a line was added.
bool ExplainLastUpdate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert);

// Adds a line that says which of loss, gradient norm and update are far above their usual, for how many steps, how fast
// they grew and which came first. Returns for how many steps the first of them is; 0: none is, or what is usual is not
// known yet, and no line was added.
int ExplainRise(const StepRecord& record, const RunSignals& signals, v1::Alert* alert);

// Whether the learning rate is higher than when the loss was best, by half or more; whether it is a tenth or less of
// the highest that the run has had, for more than some steps (RunSignals::top_rate) or when its loss was best. Never
// both.
bool RateWasRaised(const StepRecord& record, const RunSignals& signals);
bool RateWasLowered(const StepRecord& record, const RunSignals& signals);

// Whether clipping limits what comes of this tensor's gradient (-1: of any) while the learning rate was raised since
// the loss was best: then a large update is the rate's doing, however large the gradient is.
bool RateOutdoesClipping(const StepRecord& record, int tensor, const RunSignals& signals);

// Adds the cure of a lower rate, with its command: that of when the loss was best if it was raised since, which a line
// before tells; else `factor`, below 1, times the present one. Nothing where the rate is 0.
void SuggestLowerRate(const StepRecord& record, double factor, const RunSignals& signals, v1::Alert* alert);

// Adds what the rate was and the cure of ten times the present one. Nothing unless it was lowered.
void SuggestHigherRate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert);

// What is known against too large gradients: the clipping in force and, where it does not limit this tensor (-1: the
// global norm) and a limit would have changed this step, a limit; a lower rate, which comes first where the rate was
// raised since the loss was best; another start. Lines that start with "Try " are cures and give the command, where
// there is one.
void SuggestCures(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert);

// The same of a job that is to be started again: the value for its spec.
void SuggestLowerRateOfAnotherStart(const StepRecord& record, double factor, const RunSignals& signals,
                                    v1::Alert* alert);

// Where an update as large as the weights came last (or one of `earlier_ratio` before), or weights are not finite, adds
// a line before the cures that are there already: no change of the running job brings back what was learnt.
void ExplainLostWeights(const StepRecord& record, const RunSignals& signals, v1::Alert* alert,
                        double earlier_ratio = 0);

// What the alerts that fired have said of why and of what to try, so that those of one fault do not repeat each
// other's. Thread-compatible.
class ToldLines {
 public:
  // Takes lines out of an alert that one of another rule, as severe or more, has told, and says by which alerts, three
  // at most and by their short ids: who hears of severe ones alone hears all lines too. A cause is the same at the same
  // step, about the same tensor and in the same words; never where it speaks of what is the alert's own, as "it" or as
  // what its rule looks at. A cure is the same for kSteps steps, if its command is. To be called for each alert that is
  // told to fire, in order: one that is pending may go away and be in no list.
  void TellOnce(v1::Alert* alert);

 private:
  static constexpr int64_t kSteps = 20;
  struct Line {
    std::string key;
    std::string rule;   // of the alert that told it,
    std::string alert;  // and its short id
    v1::Severity severity;
    int64_t step;
  };
  // Whether another alert than this one has told the line; `by` then has that one. Else it counts as told by this.
  bool IsTold(const std::string& line, const v1::Alert& alert, std::vector<std::string>* by);

  std::vector<Line> told_;  // in the last kSteps
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_DIAGNOSIS_H_
