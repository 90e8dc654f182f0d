// Numbers, names and growth as alerts tell them.
#ifndef GRADWATCH_CORE_DETECT_WORDS_H_
#define GRADWATCH_CORE_DETECT_WORDS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::core {

// A number for people: three digits, NaN, +Inf or -Inf.
std::string Number(double value);

// The end of a sentence about one step: "; largest in rnn0.weight_hh", or "" without a name.
std::string LargestIn(absl::string_view tensor_name);

// How fast something grows whose logarithm grows by this, above 0, a step: "2.71 times more a step", "3% more a step".
std::string GrowthAStep(double log_growth);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_WORDS_H_
