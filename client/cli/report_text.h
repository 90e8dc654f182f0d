// What a report tells, as people read it.
#ifndef GRADWATCH_CLIENT_CLI_REPORT_TEXT_H_
#define GRADWATCH_CLIENT_CLI_REPORT_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/types/optional.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::cli {

// A norm of finite elements beside `non_finite` others: "2.5"; "not finite" where the others leave nothing but zeros;
// "-" where nothing was measured.
std::string NormText(absl::optional<double> norm, int64_t non_finite);
// The norm of all gradients with what it leaves out: "2.5 (3 NaN, 1 Inf)".
std::string GradNormText(const v1::StepReport& report);
// NaN and infinite elements in all gradients.
int64_t NonFiniteCount(const v1::StepReport& report);

// What clipping did: the factor on all gradients, and where single elements, units or tensors have limits of their own,
// how many exceeded them; "-" if nothing was clipped.
std::string ClippedText(const v1::ClipOutcome& clip);

// What made the step unusual, each with blanks before it: an action, non-finite numbers, a validation.
std::string RemarksText(const v1::StepReport& report);

// What lies between the steps of a point: "from step 100: loss 0.31 to 5.2, norm 1 to 80, 2 steps not finite". Empty:
// it is one step alone, whose report says it.
std::string RangeText(const v1::ConflatedPoint& point);

// "loss 0.31, accuracy 0.9, perplexity 1.36".
std::string ValidationText(const v1::Validation& validation);

// "rnn0.weight_hh: norm 2, largest 0.5, NaN 0, +Inf 0, -Inf 0".
std::string TensorText(const std::string& name, const v1::TensorStats& tensor);

// "statistics of attempt 1, steps 3 to 9 are lost: what was stored is damaged".
std::string LostText(const v1::StatisticsLost& lost);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_REPORT_TEXT_H_
