// Dense: y = x W^T + b for each row.
#ifndef GRADWATCH_CORE_NN_DENSE_H_
#define GRADWATCH_CORE_NN_DENSE_H_

#include <cstdint>
#include <string>

#include "core/nn/layer.h"
#include "core/nn/projection.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight [units, inputs] and, unless switched off, bias [units].
template <typename T>
class Dense final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  bool takes_tokens() const override { return true; }
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  int64_t units_ = 0;
  bool has_bias_ = true;
  v1::Initializer weight_init_;
  Projection<T> projection_;
  int64_t weight_ = 0, bias_ = 0;  // offsets
};

GW_EXTERN_TEMPLATE(Dense);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_DENSE_H_
