// The element-wise functions themselves, over arrays. NaN goes in and comes out, as IEEE 754 and PyTorch have it;
// infinities reach the functions' limits.
#ifndef GRADWATCH_CORE_NN_ACTIVATION_FUNCTION_H_
#define GRADWATCH_CORE_NN_ACTIVATION_FUNCTION_H_

#include <cstdint>

#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// A function with its number, if it has one (see model.proto).
struct ActivationSettings {
  // NOLINTNEXTLINE(google-explicit-constructor): most functions have no number.
  ActivationSettings(v1::ActivationFunction chosen, double number = 1) : function(chosen), alpha(number) {}

  v1::ActivationFunction function;
  double alpha;
};

// Whether the derivative needs the input x; else it is found from the output y = f(x).
bool ActivationReadsInput(const ActivationSettings& settings);

// y = f(x) for `size` elements; y may be x.
template <typename T>
void ApplyActivation(const ActivationSettings& settings, int64_t size, const T* x, T* y);

// dx = dy * f'; dx may be dy. `source` is the input if ActivationReadsInput, else the output.
template <typename T>
void ActivationBackward(const ActivationSettings& settings, int64_t size, const T* source, const T* dy, T* dx);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ACTIVATION_FUNCTION_H_
