// Flatten: an image or a sequence as one flat row an example; of a sequence step 0 first.
#ifndef GRADWATCH_CORE_NN_FLATTEN_H_
#define GRADWATCH_CORE_NN_FLATTEN_H_

#include <cstdint>
#include <string>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// No parameters.
template <typename T>
class Flatten final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  int64_t batch_ = 0, steps_ = 0, features_ = 0;  // of the input
};

GW_EXTERN_TEMPLATE(Flatten);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_FLATTEN_H_
