#include "core/nn/flatten.h"

#include <algorithm>

namespace gradwatch::core {

template <typename T>
void Flatten<T>::Configure(const v1::Layer& /*spec*/, const FieldScope& /*scope*/) {}

template <typename T>
absl::StatusOr<LayerPlan> Flatten<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  batch_ = plan->batch_size();
  steps_ = place.input.rows();
  features_ = place.input.features;
  LayerPlan result;
  result.output = {.features = MultiplySizes(steps_, features_)};
  // Without a time axis the rows are flat already, and copies onto themselves are none.
  result.in_place = result.in_place_backward = !place.input.is_sequence();
  return result;
}

template <typename T>
void Flatten<T>::Forward(const Pass<T>& /*pass*/, const LayerInput<T>& x, T* y) {
  if (x.values == y) return;
  for (int64_t t = 0; t < steps_; ++t) {
    for (int64_t b = 0; b < batch_; ++b) {
      std::copy_n(x.values + (t * batch_ + b) * features_, features_, y + (b * steps_ + t) * features_);
    }
  }
}

template <typename T>
void Flatten<T>::Backward(const Pass<T>& /*pass*/, const LayerInput<T>& /*x*/, const T* /*y*/, const T* dy, T* dx) {
  if (dx == nullptr || dx == dy) return;
  for (int64_t t = 0; t < steps_; ++t) {
    for (int64_t b = 0; b < batch_; ++b) {
      std::copy_n(dy + (b * steps_ + t) * features_, features_, dx + (t * batch_ + b) * features_);
    }
  }
}

GW_INSTANTIATE_TEMPLATE(Flatten);

}  // namespace gradwatch::core
