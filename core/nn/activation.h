// Activation: an element-wise function of its input.
//
// Bounds of the derivatives, minimum and maximum (found by golden section in tests/core/nn):
//   sigmoid      0 to 1/4                    at 0
//   tanh         0 to 1                      at 0
//   relu         0 or 1
//   leaky relu   alpha or 1
//   elu          0 to max(1, alpha)
//   selu         0 to 1.7580993408           from below 0; 1.0507009874 above
//   gelu         -0.128904145185 to 1.128904145185    at -sqrt(2), sqrt(2)
//   gelu, tanh   -0.128993068659 to 1.128993068659    at -1.418504, 1.418504
//   silu         -0.099839320129 to 1.099839320129    at -2.3993573, 2.3993573
//   softplus     0 to 1                      at infinity
//   softsign     0 to 1                      at 0
//   mish         -0.112526122389 to 1.088498161252    at -2.2563764, 1.4905716
// So sigmoid, tanh, relu, softplus, softsign and elu up to alpha = 1 cannot make a gradient grow on their own, only
// weights can; the others can, if by little.
#ifndef GRADWATCH_CORE_NN_ACTIVATION_H_
#define GRADWATCH_CORE_NN_ACTIVATION_H_

#include <cstdint>
#include <string>

#include "core/nn/activation_function.h"
#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// No parameters.
template <typename T>
class Activation final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  ActivationSettings settings_ = v1::ACTIVATION_FUNCTION_UNSPECIFIED;
  int64_t size_ = 0;  // numbers of a batch
};

GW_EXTERN_TEMPLATE(Activation);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ACTIVATION_H_
