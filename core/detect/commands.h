// The commands of the client that alerts advise, ready to be copied.
#ifndef GRADWATCH_CORE_DETECT_COMMANDS_H_
#define GRADWATCH_CORE_DETECT_COMMANDS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// All name the job of the alert; JOB where it has none. They hold no quotes around them and no full stop.

// "gradwatch adjust mnist-7 --lr-scale 0.05": makes the learning rate `factor` times that of the step, whatever scale
// is in force. `factor` is above 0. Empty: no job takes such a scale.
std::string RateCommand(const v1::Alert& alert, const StepRecord& record, double factor);

// Limits the global norm or, where a tensor is named, the norm of that one alone. Empty: no shell could be given this
// name.
std::string ClipCommand(const v1::Alert& alert, absl::string_view tensor_name, double max_norm);

// What a line that ends with a RateCommand or a ClipCommand says of a job that is to be started again: the same values
// in its spec, "gradwatch submit SPEC --set controls.learning_rate_scale=0.05". A line without one, or of one tensor
// alone, whose place in the spec is longer than a command, stays as it is but for the command.
std::string ForTheSpec(absl::string_view line);

// Measures what goes through each layer.
std::string LayerStatisticsCommand(const v1::Alert& alert);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_COMMANDS_H_
