// The element-wise functions themselves, over arrays. NaN goes in and comes out, as IEEE 754 and PyTorch have it.
#ifndef GRADWATCH_CORE_NN_ACTIVATION_FUNCTION_H_
#define GRADWATCH_CORE_NN_ACTIVATION_FUNCTION_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// Adds to `errors` at `path` what is wrong with choosing this function: unset, unknown, or not served yet.
void CheckActivationFunction(absl::string_view path, v1::ActivationFunction function, FieldErrors* errors);

// y = f(x) for `size` elements; y may be x.
template <typename T>
void ApplyActivation(v1::ActivationFunction function, int64_t size, const T* x, T* y);

// dx = dy * f'(x), with f' expressed by y = f(x); dx may be dy.
template <typename T>
void ActivationBackward(v1::ActivationFunction function, int64_t size, const T* y, const T* dy, T* dx);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ACTIVATION_FUNCTION_H_
