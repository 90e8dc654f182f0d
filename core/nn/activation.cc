#include "core/nn/activation.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/nn/activation_function.h"

namespace gradwatch::core {

template <typename T>
void Activation<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  function_ = spec.activation().function();
  CheckActivationFunction(scope.path + ".function", function_, scope.errors);
  if (!std::isfinite(spec.activation().alpha())) {
    scope.errors->Add(scope.path + ".alpha", absl::StrCat("must be finite; got ", spec.activation().alpha()));
  }
}

template <typename T>
absl::StatusOr<LayerPlan> Activation<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  size_ = plan->Size(place.input);
  LayerPlan result;
  result.output = place.input;
  result.in_place = true;
  result.reads_output = true;
  result.in_place_backward = true;
  result.function = function_;
  return result;
}

template <typename T>
void Activation<T>::Forward(const Pass<T>& /*pass*/, const LayerInput<T>& x, T* y) {
  ApplyActivation(function_, size_, x.values, y);
}

template <typename T>
void Activation<T>::Backward(const Pass<T>& /*pass*/, const LayerInput<T>& /*x*/, const T* y, const T* dy, T* dx) {
  if (dx != nullptr) ActivationBackward(function_, size_, y, dy, dx);
}

GW_INSTANTIATE_TEMPLATE(Activation);

}  // namespace gradwatch::core
