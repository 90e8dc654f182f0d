// What the LSTM and the GRU have in common: their fields, and weights and biases in which all gates lie one below the
// other, as PyTorch has them.
#ifndef GRADWATCH_CORE_NN_GATED_PARAMETERS_H_
#define GRADWATCH_CORE_NN_GATED_PARAMETERS_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/nn/layer.h"

namespace gradwatch::core {

// Parameters of G gates of H units: weight_ih [G H, inputs], weight_hh [G H, H], bias_ih and bias_hh [G H].
struct GatedParameters {
  int64_t units = 0;
  v1::Initializer input_init, recurrent_init;
  int64_t weight_ih = 0, weight_hh = 0, bias_ih = 0, bias_hh = 0;  // offsets

  // Checks the fields. Unset initializers become uniform within 1/sqrt(units).
  void Configure(int64_t given_units, const v1::Initializer& given_input_init,
                 const v1::Initializer& given_recurrent_init, const FieldScope& scope);
  // Declares the parameters. INVALID_ARGUMENT: the input is no sequence.
  absl::Status Declare(const LayerPlace& place, int64_t gates, MemoryPlan* plan);
};

// The share of saturated numbers among gates that lie side by side: `rows` rows that have `units` numbers of each of
// `functions`, TANH or SIGMOID. T is float or double.
template <typename T>
double SaturatedShare(const T* gates, int64_t rows, int64_t units, std::span<const v1::ActivationFunction> functions);

extern template double SaturatedShare(const float*, int64_t, int64_t, std::span<const v1::ActivationFunction>);
extern template double SaturatedShare(const double*, int64_t, int64_t, std::span<const v1::ActivationFunction>);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_GATED_PARAMETERS_H_
