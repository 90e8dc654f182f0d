// Gru: a gated recurrent unit over all time steps of a sequence, trained by full backpropagation through time.
// Parameters and their meaning are PyTorch's; the reset gate acts after the recurrent product. With h_0 = 0, s the
// sigmoid and * element by element:
//
//   r, z = s(W x_t + b + U h_{t-1} + b')             of the reset and update gates' own rows
//   n    = tanh(W x_t + b + r * (U h_{t-1} + b'))    of the new gate's
//   h_t  = (1 - z) * n + z * h_{t-1}
#ifndef GRADWATCH_CORE_NN_GRU_H_
#define GRADWATCH_CORE_NN_GRU_H_

#include <cstdint>
#include <optional>

#include "core/nn/gated_parameters.h"
#include "core/nn/layer.h"
#include "core/nn/projection.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters as in GatedParameters, the gates in the order r, z, n; biases start at zero. Output: every h_t. Products
// are arranged as in the LSTM.
template <typename T>
class Gru final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  bool takes_tokens() const override { return true; }
  std::optional<double> SaturatedGates(const Pass<T>& pass) const override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  // From the last step to the first makes of the gates the gradients of what U h + b' is added to, of the new gate's
  // recurrent sums the gradients of its input sums, and of the biases' gradients the sums of both.
  void BackThroughTime(const Pass<T>& pass, Scratch<T> scratch, const T* y, const T* dy) const;

  GatedParameters parameters_;
  int64_t batch_ = 0, steps_ = 0;
  Projection<T> projection_;
  // Offsets among what is kept: gates [steps, batch, 3 units], the new gate's U h + b' [steps, batch, units].
  int64_t gates_ = 0, recurrent_sums_ = 0;
};

GW_EXTERN_TEMPLATE(Gru);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_GRU_H_
