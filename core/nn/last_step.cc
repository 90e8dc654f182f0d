#include "core/nn/last_step.h"

#include <algorithm>

namespace gradwatch::core {

template <typename T>
void LastStep<T>::Configure(const v1::Layer& /*spec*/, const FieldScope& /*scope*/) {}

template <typename T>
absl::StatusOr<LayerPlan> LastStep<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  if (!place.input.is_sequence()) {
    return InvalidField(place.path, "needs a sequence, but its input has no time axis");
  }
  LayerPlan result;
  result.output = place.input;
  result.output.steps = 0;
  size_ = plan->Size(result.output);
  before_ = plan->Size(place.input) - size_;
  return result;
}

template <typename T>
void LastStep<T>::Forward(const Pass<T>& /*pass*/, const LayerInput<T>& x, T* y) {
  std::copy_n(x.values + before_, size_, y);
}

template <typename T>
void LastStep<T>::Backward(const Pass<T>& /*pass*/, const LayerInput<T>& /*x*/, const T* /*y*/, const T* dy, T* dx) {
  if (dx == nullptr) return;
  std::fill_n(dx, before_, T(0));
  std::copy_n(dy, size_, dx + before_);
}

GW_INSTANTIATE_TEMPLATE(LastStep);

}  // namespace gradwatch::core
