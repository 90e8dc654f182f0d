// Embedding: looks a vector up for each token; optionally adds one that is learnt for each time step.
#ifndef GRADWATCH_CORE_NN_EMBEDDING_H_
#define GRADWATCH_CORE_NN_EMBEDDING_H_

#include <cstdint>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight [vocabulary, units] and, if switched on, positions [steps, units]. Only the first layer on tokens.
// A token's gradients are added up in the order of the rows.
template <typename T>
class Embedding final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  bool takes_tokens() const override { return true; }
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  int64_t units_ = 0;
  bool has_positions_ = false;
  v1::Initializer weight_init_;
  int64_t batch_ = 0, rows_ = 0, vocabulary_ = 0;
  int64_t weight_ = 0, positions_ = 0;  // offsets
};

GW_EXTERN_TEMPLATE(Embedding);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_EMBEDDING_H_
