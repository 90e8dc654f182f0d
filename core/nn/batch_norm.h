// BatchNorm (Ioffe and Szegedy 2015): every feature, or channel of an image, is normalised over the batch (and over its
// time steps and pixels): y = gamma (x - mean) / sqrt(variance + epsilon) + beta.
//
// While training mean and biased variance are the batch's; the running ones move towards it by `momentum`, the variance
// without bias, and are used otherwise. A channel whose mean or variance is not finite leaves its own alone, so that
// one bad batch does not spoil what was learnt. Steps that are skipped are taken back as a whole:
// Network::RestoreState.
#ifndef GRADWATCH_CORE_NN_BATCH_NORM_H_
#define GRADWATCH_CORE_NN_BATCH_NORM_H_

#include <cstdint>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight (gamma) and bias (beta), [channels]; they start at 1 and 0.
template <typename T>
class BatchNorm final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  // INVALID_ARGUMENT: the batch has one number per channel, whose variance is none.
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void InitializeState(T* state) const override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  void MeasureBatch(const Pass<T>& pass, const T* x) const;
  void TakeRunning(const Pass<T>& pass) const;

  double epsilon_ = 0, momentum_ = 0;
  int64_t rows_ = 0, channels_ = 0, pixels_ = 0;  // the input is [rows, channels, pixels]
  int64_t weight_ = 0, bias_ = 0;                 // offsets of parameters
  int64_t means_ = 0, factors_ = 0;               // of what is kept: what is taken off, what the rest is multiplied by
  int64_t running_means_ = 0, running_variances_ = 0;  // of state
};

GW_EXTERN_TEMPLATE(BatchNorm);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_BATCH_NORM_H_
