// What to do: the lines of an alert that give cures, and what is to be known beside them.
#ifndef GRADWATCH_CORE_DETECT_CURES_H_
#define GRADWATCH_CORE_DETECT_CURES_H_

#include "core/detect/run_signals.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// Whether what the weights had learnt is still there: not where an update as large as they are came last (or one of
// `earlier_ratio` before), or where they are not finite. Then no change of the running job brings it back, a line says
// so, and cures are those of another start.
enum class Weights { kThere, kLost };
Weights WeightsAfter(const StepRecord& record, const RunSignals& signals, double earlier_ratio = 0);

// What is known against too large gradients: inputs that are out of scale; the clipping in force and, where it does not
// limit this tensor (-1: the global norm) and a limit would have changed this step, a limit; a lower rate, which comes
// first where it was raised since the loss was best or is to blame for the last update: then a limit is advised only if
// the norm is known to have jumped; another start. Lines that start with "Try " are cures and give the command, where
// there is one.
void SuggestCures(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert,
                  Weights weights = Weights::kThere);

// Adds what is known of inputs that are out of scale, and the cure. Nothing where they are not.
void SuggestScaledInputs(const RunSignals& signals, v1::Alert* alert);

// Adds the cure of a lower rate, with its command: that of when the loss was best if it was raised since, which a line
// before tells; else `factor`, below 1, times the present one. No such cure where the rate is 0.
void SuggestLowerRate(const StepRecord& record, double factor, const RunSignals& signals, v1::Alert* alert,
                      Weights weights = Weights::kThere);

// The same of a job that is to be started again, which an earlier line says: the value for its spec. What may have led
// there, inputs out of scale, is told as well.
void SuggestLowerRateOfAnotherStart(const StepRecord& record, double factor, const RunSignals& signals,
                                    v1::Alert* alert);

// Adds what the rate was and the cure of ten times the present one. Nothing unless it was lowered.
void SuggestHigherRate(const StepRecord& record, const RunSignals& signals, v1::Alert* alert);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_CURES_H_
