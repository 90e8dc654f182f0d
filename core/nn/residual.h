// Residual: y = x + inner(x), where the inner layers give back the shape that they get.
#ifndef GRADWATCH_CORE_NN_RESIDUAL_H_
#define GRADWATCH_CORE_NN_RESIDUAL_H_

#include <cstdint>
#include <string>

#include "core/nn/layer.h"
#include "core/nn/layer_stack.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: those of the inner layers.
template <typename T>
class Residual final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  bool is_block() const override { return true; }
  void InitializeParameters(T* parameters) const override { inner_.InitializeParameters(parameters); }
  void InitializeState(T* state) const override { inner_.InitializeState(state); }
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  LayerStack<T> inner_;
  int64_t size_ = 0;  // numbers of a batch
};

GW_EXTERN_TEMPLATE(Residual);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_RESIDUAL_H_
