// Rnn: h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) with h_0 = 0, over all time steps of a sequence; trained by full
// backpropagation through time. Parameters and their meaning are PyTorch's.
#ifndef GRADWATCH_CORE_NN_RNN_H_
#define GRADWATCH_CORE_NN_RNN_H_

#include <cstdint>
#include <string>

#include "core/nn/layer.h"
#include "core/nn/projection.h"
#include "core/nn/vanishing_penalty.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight_ih [units, inputs], weight_hh [units, units], bias_ih and bias_hh [units]. Output: every h_t.
//
// The input's share of all steps is one product before the recurrence, and each weight's gradient one product after it,
// so that only the product with W_hh is left in the recurrence itself. The gradient of weight_hh includes that of
// vanishing_penalty times Omega, which the loss leaves out.
template <typename T>
class Rnn final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  bool takes_tokens() const override { return true; }
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  // da = the gradient of the sums that f is applied to, for all steps, from the last to the first; for the penalty also
  // the norms of the gradients of each h_t, unless null.
  void BackThroughTime(const Pass<T>& pass, Scratch<T> scratch, const T* y, const T* dy, T* da, T* dh_norms) const;

  int64_t units_ = 0;
  v1::ActivationFunction function_ = v1::ACTIVATION_FUNCTION_TANH;
  v1::Initializer input_init_, recurrent_init_;
  double penalty_factor_ = 0;
  int64_t batch_ = 0, steps_ = 0;
  Projection<T> projection_;
  VanishingPenalty<T> penalty_;
  int64_t weight_ih_ = 0, weight_hh_ = 0, bias_ih_ = 0, bias_hh_ = 0;  // offsets
};

GW_EXTERN_TEMPLATE(Rnn);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_RNN_H_
