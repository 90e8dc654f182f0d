// A fingerprint of all parameters, to tell whether two runs are bit-identical.
#ifndef GRADWATCH_CORE_TRAIN_PARAMETER_DIGEST_H_
#define GRADWATCH_CORE_TRAIN_PARAMETER_DIGEST_H_

#include <span>
#include <string>

#include "core/tensor/parameter_layout.h"

namespace gradwatch::core {

// SHA-256, in lower-case hexadecimal, of the tensors' bytes (little-endian float) in arena order, without the padding.
std::string ParameterDigest(const ParameterLayout& layout, std::span<const float> parameters);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_PARAMETER_DIGEST_H_
