#include "core/nn/activation.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/nn/field_checks.h"

namespace gradwatch::core {

namespace {

constexpr double kLeakySlope = 0.01;

void CheckFunction(const std::string& path, v1::ActivationFunction function, FieldErrors* errors) {
  if (function == v1::ACTIVATION_FUNCTION_UNSPECIFIED) {
    errors->Add(path, "is required");
  } else if (!v1::ActivationFunction_IsValid(function)) {
    errors->Add(path, absl::StrCat("is not a function; got ", static_cast<int>(function)));
  }
}

void CheckAlpha(const std::string& path, const ActivationSettings& settings, FieldErrors* errors) {
  if (settings.function == v1::ACTIVATION_FUNCTION_ELU) return CheckPositive(path, settings.alpha, errors);
  if (!std::isfinite(settings.alpha)) errors->Add(path, absl::StrCat("must be finite; got ", settings.alpha));
}

}  // namespace

template <typename T>
void Activation<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Activation& activation = spec.activation();
  CheckFunction(scope.path + ".function", activation.function(), scope.errors);
  const bool is_leaky = activation.function() == v1::ACTIVATION_FUNCTION_LEAKY_RELU;
  settings_ = {activation.function(), activation.has_alpha() ? activation.alpha() : is_leaky ? kLeakySlope : 1};
  CheckAlpha(scope.path + ".alpha", settings_, scope.errors);
}

template <typename T>
absl::StatusOr<LayerPlan> Activation<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  size_ = plan->Size(place.input);
  LayerPlan result;
  result.output = place.input;
  result.in_place = result.reads_output = !ActivationReadsInput(settings_);
  result.in_place_backward = true;
  result.function = settings_.function;
  return result;
}

template <typename T>
void Activation<T>::Forward(const Pass<T>& /*pass*/, const LayerInput<T>& x, T* y) {
  ApplyActivation(settings_, size_, x.values, y);
}

template <typename T>
void Activation<T>::Backward(const Pass<T>& /*pass*/, const LayerInput<T>& x, const T* y, const T* dy, T* dx) {
  if (dx == nullptr) return;
  ActivationBackward(settings_, size_, ActivationReadsInput(settings_) ? x.values : y, dy, dx);
}

GW_INSTANTIATE_TEMPLATE(Activation);

}  // namespace gradwatch::core
