// The rules behind the names that RuleSet.preset may have.
#ifndef GRADWATCH_CORE_DETECT_PRESETS_H_
#define GRADWATCH_CORE_DETECT_PRESETS_H_

#include "absl/strings/string_view.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

inline constexpr absl::string_view kDefaultPreset = "gradwatch";

// Whether there is a preset of this name.
bool IsPreset(absl::string_view name);

// The default rules. Their limits keep healthy runs quiet and look at what is lost, not at what is odd:
//
//   non_finite           critical  a NaN or an infinity
//   grad_norm_exploding  critical  a norm above 100 times its median, and 10 robust deviations
//   grad_norm_spike      warning   a norm above 5 times its median, and 8 robust deviations
//   loss_jump            warning   a loss above twice its median, and outside its spread, on 5 steps in a row
//   update_overshoot     critical  an update larger than the weights it changes
//   update_ratio         warning   an update above a tenth of its weights on 3 steps in a row
//
// The last two look at tensors with "weight" in their name: a single bias may well pass through zero.
v1::RuleSet GradwatchPreset();

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_PRESETS_H_
