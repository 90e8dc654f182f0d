#include "core/nn/gated_parameters.h"

#include <algorithm>
#include <cmath>

#include "core/nn/field_checks.h"
#include "core/stats/layer_statistics.h"

namespace gradwatch::core {
namespace {
constexpr int64_t kMaxUnits = 65'536;
}  // namespace

void GatedParameters::Configure(int64_t given_units, const v1::Initializer& given_input_init,
                                const v1::Initializer& given_recurrent_init, const FieldScope& scope) {
  CheckRange(scope.path + ".units", given_units, 1, kMaxUnits, scope.errors);
  units = given_units;
  const double bound = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(units, 1)));
  input_init = CheckInitializer(scope.path + ".input_init", given_input_init, v1::INITIALIZER_METHOD_UNIFORM,
                                scope.errors, bound);
  recurrent_init = CheckInitializer(scope.path + ".recurrent_init", given_recurrent_init,
                                    v1::INITIALIZER_METHOD_UNIFORM, scope.errors, bound);
}

absl::Status GatedParameters::Declare(const LayerPlace& place, int64_t gates, MemoryPlan* plan) {
  if (!place.input.is_sequence()) {
    return InvalidField(place.path, "needs a sequence, but its input has no time axis");
  }
  const int64_t rows = gates * units;
  weight_ih = AddParameter(place.name + ".weight_ih", {rows, place.input.features}, place.depth, input_init, plan);
  weight_hh = AddParameter(place.name + ".weight_hh", {rows, units}, place.depth, recurrent_init, plan);
  bias_ih = AddParameter(place.name + ".bias_ih", {rows}, place.depth, ZeroInitializer(), plan);
  bias_hh = AddParameter(place.name + ".bias_hh", {rows}, place.depth, ZeroInitializer(), plan);
  return absl::OkStatus();
}

template <typename T>
double SaturatedShare(const T* gates, int64_t rows, int64_t units, std::span<const v1::ActivationFunction> functions) {
  double shares = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (const v1::ActivationFunction function : functions) {
      LayerStatistics gate;
      MeasureOutput(gates, 1, units, function, &gate);
      shares += gate.saturated;
      gates += units;
    }
  }
  return shares / static_cast<double>(rows * static_cast<int64_t>(functions.size()));
}

template double SaturatedShare(const float*, int64_t, int64_t, std::span<const v1::ActivationFunction>);
template double SaturatedShare(const double*, int64_t, int64_t, std::span<const v1::ActivationFunction>);

}  // namespace gradwatch::core
