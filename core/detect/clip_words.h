// What an alert says of the clipping that is in force.
#ifndef GRADWATCH_CORE_DETECT_CLIP_WORDS_H_
#define GRADWATCH_CORE_DETECT_CLIP_WORDS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "core/stats/step_record.h"

namespace gradwatch::core {

// Whether a clipping limits anything.
bool IsLimited(const TensorClipping& clipping);

// What clipping is in force for a tensor, in one sentence: "Clipping is on: the global norm is at most 1.". `tensor`
// -1: for the gradients as a whole. Empty: nothing limits it, and no override says so.
std::string ClippingInForce(const ClipInForce& in_force, int tensor, absl::string_view tensor_name);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_CLIP_WORDS_H_
