// Activation: an element-wise function of its input.
//
// Bounds of the derivatives: sigmoid in (0, 1/4], tanh in (0, 1], relu 0 or 1. So none of these can make a gradient
// grow on its own; only weights can.
#ifndef GRADWATCH_CORE_NN_ACTIVATION_H_
#define GRADWATCH_CORE_NN_ACTIVATION_H_

#include <cstdint>
#include <string>

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
  v1::ActivationFunction function_ = v1::ACTIVATION_FUNCTION_UNSPECIFIED;
  int64_t size_ = 0;  // numbers of a batch
};

GW_EXTERN_TEMPLATE(Activation);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ACTIVATION_H_
