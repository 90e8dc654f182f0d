// Scale: y = multiplier x + bias, one learnt number each; what Fixup (Zhang et al. 2019) and SkipInit (De and Smith
// 2020) put at the end of a residual branch instead of a normalisation.
#ifndef GRADWATCH_CORE_NN_SCALE_H_
#define GRADWATCH_CORE_NN_SCALE_H_

#include <cstdint>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight [1] and, if asked for, bias [1].
template <typename T>
class Scale final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  v1::Initializer multiplier_init_;
  bool has_bias_ = false;
  int64_t size_ = 0;               // numbers of a batch
  int64_t weight_ = 0, bias_ = 0;  // offsets
};

GW_EXTERN_TEMPLATE(Scale);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SCALE_H_
