#include "core/nn/dense.h"

#include "core/nn/field_checks.h"
#include "core/nn/rows.h"

namespace gradwatch::core {
namespace {
constexpr int64_t kMaxUnits = 1'048'576;
}  // namespace

template <typename T>
void Dense<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Dense& dense = spec.dense();
  CheckRange(scope.path + ".units", dense.units(), 1, kMaxUnits, scope.errors);
  units_ = dense.units();
  has_bias_ = !dense.has_bias() || dense.bias();
  weight_init_ =
      CheckInitializer(scope.path + ".weight_init", dense.weight_init(), v1::INITIALIZER_METHOD_XAVIER, scope.errors);
}

template <typename T>
absl::StatusOr<LayerPlan> Dense<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  projection_ = Projection<T>(place, units_, plan);
  plan->NeedScratch(projection_.scratch_size());
  weight_ = AddParameter(place.name + ".weight", {units_, place.input.features}, place.depth, weight_init_, plan);
  if (has_bias_) bias_ = AddParameter(place.name + ".bias", {units_}, place.depth, ZeroInitializer(), plan);
  LayerPlan result;
  result.output = {.steps = place.input.steps, .features = units_};
  return result;
}

template <typename T>
void Dense<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  const T* const bias = has_bias_ ? pass.parameters + bias_ : nullptr;
  projection_.Forward(pass, pass.scratch, x, pass.parameters + weight_, bias, y);
}

template <typename T>
void Dense<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  projection_.WeightGradient(pass, pass.scratch, x, dy, pass.gradients + weight_);
  if (has_bias_) SumRows(projection_.rows(), units_, dy, pass.gradients + bias_);
  if (dx != nullptr) projection_.InputGradient(pass, pass.parameters + weight_, dy, dx);
}

GW_INSTANTIATE_TEMPLATE(Dense);

}  // namespace gradwatch::core
