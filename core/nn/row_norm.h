// LayerNorm (Ba et al. 2016) and RmsNorm (Zhang and Sennrich 2019): every row is normalised over its features,
//   LayerNorm  y = gamma (x - mean) / sqrt(variance + epsilon) + beta, with the biased variance
//   RmsNorm    y = gamma x / sqrt(mean of x^2 + epsilon)
// so a row's result does not depend on the rest of the batch, in training or not.
#ifndef GRADWATCH_CORE_NN_ROW_NORM_H_
#define GRADWATCH_CORE_NN_ROW_NORM_H_

#include <cstdint>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight (gamma) and, for LayerNorm, bias (beta), [features]; they start at 1 and 0.
template <typename T>
class RowNorm final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  // Of one row: what is taken off, and what the rest is multiplied by.
  struct Normalizer {
    T mean, factor;
  };
  Normalizer Measure(const T* x) const;
  void InputGradient(const Normalizer& row, const T* gamma, const T* x, const T* dy, T* dx) const;

  bool centered_ = false;  // LayerNorm
  double epsilon_ = 0;
  int64_t rows_ = 0, features_ = 0;
  int64_t weight_ = 0, bias_ = 0;    // offsets of parameters
  int64_t means_ = 0, factors_ = 0;  // offsets of what is kept, one a row
};

GW_EXTERN_TEMPLATE(RowNorm);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ROW_NORM_H_
