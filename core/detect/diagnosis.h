// The lines of an alert that say why, as far as the reports tell, and what to try.
#ifndef GRADWATCH_CORE_DETECT_DIAGNOSIS_H_
#define GRADWATCH_CORE_DETECT_DIAGNOSIS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "core/detect/run_context.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// A number for people: three digits, NaN, +Inf or -Inf.
std::string Number(double value);
// One step of a few words: "; largest in rnn0.weight_hh", or "" without a name.
std::string LargestIn(absl::string_view tensor_name);

// Why gradients are too large: the share of the tensor, recurrence, growth through the layers, the last update. One
// line each, as far as it applies; one that says so if nothing does.
void ExplainLargeGradient(const StepRecord& record, int tensor, const RunContext& context, v1::Alert* alert);

// What to try against too large gradients: a clip threshold from the history, a lower rate, another start.
void SuggestCures(const StepRecord& record, int tensor, const RunContext& context, v1::Alert* alert);

// Adds a line about the last update if it was large against its weights. Returns whether it was.
bool ExplainLastUpdate(const StepRecord& record, const RunContext& context, v1::Alert* alert);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_DIAGNOSIS_H_
