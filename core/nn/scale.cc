#include "core/nn/scale.h"

#include <limits>

#include "core/base/field_range.h"
#include "core/nn/field_checks.h"
#include "core/nn/sums.h"

namespace gradwatch::core {

template <typename T>
void Scale<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Scale& scale = spec.scale();
  multiplier_init_ = OneInitializer();
  if (scale.has_multiplier()) multiplier_init_.set_gain(scale.multiplier());
  CheckNumberRange(*scope.errors, scope.path + ".multiplier", multiplier_init_.gain(), 0,
                   std::numeric_limits<float>::max());
  has_bias_ = scale.bias();
}

template <typename T>
absl::StatusOr<LayerPlan> Scale<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  size_ = plan->Size(place.input);
  weight_ = AddParameter(place.name + ".weight", {1}, place.depth, multiplier_init_, plan);
  if (has_bias_) bias_ = AddParameter(place.name + ".bias", {1}, place.depth, ZeroInitializer(), plan);
  LayerPlan result;
  result.output = place.input;
  return result;
}

template <typename T>
void Scale<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  const T multiplier = pass.parameters[weight_], bias = has_bias_ ? pass.parameters[bias_] : T(0);
  const T* __restrict from = x.values;
  T* __restrict to = y;
  for (int64_t i = 0; i < size_; ++i) to[i] = multiplier * from[i] + bias;
}

template <typename T>
void Scale<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  const T* const from = x.values;
  const SumPair<T> sums = AddUp<T>(size_, [=](int64_t i) -> SumPair<T> {
    return {static_cast<Sum<T>>(dy[i] * from[i]), static_cast<Sum<T>>(dy[i])};
  });
  pass.gradients[weight_] = static_cast<T>(sums.first);
  if (has_bias_) pass.gradients[bias_] = static_cast<T>(sums.second);
  if (dx == nullptr) return;
  const T multiplier = pass.parameters[weight_];
  const T* __restrict g = dy;
  T* __restrict to = dx;
  for (int64_t i = 0; i < size_; ++i) to[i] = multiplier * g[i];
}

GW_INSTANTIATE_TEMPLATE(Scale);

}  // namespace gradwatch::core
