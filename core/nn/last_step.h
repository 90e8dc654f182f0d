// LastStep: keeps only the last time step of a sequence.
#ifndef GRADWATCH_CORE_NN_LAST_STEP_H_
#define GRADWATCH_CORE_NN_LAST_STEP_H_

#include <cstdint>
#include <string>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// No parameters.
template <typename T>
class LastStep final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  int64_t before_ = 0;  // numbers before the last step
  int64_t size_ = 0;    // numbers of the last step
};

GW_EXTERN_TEMPLATE(LastStep);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LAST_STEP_H_
