// Lstm: a long short-term memory over all time steps of a sequence, trained by full backpropagation through time.
// Parameters and their meaning are PyTorch's. With h_0 = c_0 = 0, s the sigmoid and * element by element:
//
//   i, f, o = s(W x_t + b + U h_{t-1} + b')    of the input, forget and output gates' own rows
//   g       = tanh(W x_t + b + U h_{t-1} + b') of the cell gate's
//   c_t     = f * c_{t-1} + i * g
//   h_t     = o * tanh(c_t)
#ifndef GRADWATCH_CORE_NN_LSTM_H_
#define GRADWATCH_CORE_NN_LSTM_H_

#include <cstdint>
#include <optional>

#include "core/nn/gated_parameters.h"
#include "core/nn/layer.h"
#include "core/nn/projection.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters as in GatedParameters, the gates in the order i, f, g, o. Output: every h_t. bias_ih holds all of the
// forget gate's first bias; bias_hh starts at zero.
//
// The input's share of all steps is one product before the recurrence, and each weight's gradient one product after it.
// A step is one product with U and one pass over the gates.
template <typename T>
class Lstm final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  bool takes_tokens() const override { return true; }
  std::optional<double> SaturatedGates(const Pass<T>& pass) const override;
  void InitializeParameters(T* parameters) const override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  // Makes of the gates the gradients of the sums that they are functions of, from the last step to the first, and of
  // bias_ih's gradient their sum.
  void BackThroughTime(const Pass<T>& pass, Scratch<T> scratch, const T* dy) const;

  GatedParameters parameters_;
  double forget_bias_ = 1;
  int64_t batch_ = 0, steps_ = 0;
  Projection<T> projection_;
  // Offsets among what is kept: gates [steps, batch, 4 units], c_0 and every c_t, every tanh(c_t).
  int64_t gates_ = 0, cells_ = 0, tanh_cells_ = 0;
};

GW_EXTERN_TEMPLATE(Lstm);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LSTM_H_
