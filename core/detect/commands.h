// Cures as values: what each changes, to what, and when. They become words and a command of the client, ready to be
// copied, only where an alert takes them in.
#ifndef GRADWATCH_CORE_DETECT_COMMANDS_H_
#define GRADWATCH_CORE_DETECT_COMMANDS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// How the line of a cure begins, and how its command does.
inline constexpr absl::string_view kCure = "Try ";
inline constexpr char kCommand[] = ": gradwatch ";

// A setting of a job and its value.
struct Change {
  enum class Of {
    kNothing,            // that a command could set
    kLearningRateScale,  // to `value`, above 0
    kGlobalNorm,         // limited to `value`
    kTensorNorm,         // the same of `tensor` alone
    kInputScale,         // the columns of a table brought to a deviation of 1: always of another start
  };
  Of of = Of::kNothing;
  double value = 0;
  std::string tensor = {};
};

// The scale that makes the learning rate `factor` times that of the step, whatever scale is in force. Nothing: no job
// takes such a one.
Change RateTimes(double factor, const StepRecord& record);

// Of the job as it runs, or of one that is started again.
enum class When { kNow, kAtNewStart };

// What to try, as the words behind "Try ", and the change that it is.
struct Cure {
  std::string words;
  Change change = {};
};

// "gradwatch adjust mnist-7 --lr-scale 0.05" of the job of the alert, JOB where it has none; "gradwatch submit SPEC
// --set controls.learning_rate_scale=0.05" of another start. No quotes around it and no full stop. Empty: no command
// does it then, or no shell could be given the name of the tensor.
std::string CommandOf(const Change& change, When when, const v1::Alert& alert);

// "Try less: gradwatch adjust mnist-7 --lr-scale 0.05"; without a command a sentence.
std::string InWords(const Cure& cure, When when, const v1::Alert& alert);

// Measures what goes through each layer.
std::string LayerStatisticsCommand(const v1::Alert& alert);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_COMMANDS_H_
