#include "core/nn/embedding.h"

#include <algorithm>

#include "core/nn/field_checks.h"
#include "core/nn/rows.h"

namespace gradwatch::core {
namespace {
constexpr int64_t kMaxUnits = 65'536;
}  // namespace

template <typename T>
void Embedding<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Embedding& embedding = spec.embedding();
  CheckRange(scope.path + ".units", embedding.units(), 1, kMaxUnits, scope.errors);
  units_ = embedding.units();
  has_positions_ = embedding.positions();
  weight_init_ = CheckInitializer(scope.path + ".weight_init", embedding.weight_init(), v1::INITIALIZER_METHOD_NORMAL,
                                  scope.errors, 1);
}

template <typename T>
absl::StatusOr<LayerPlan> Embedding<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  if (!place.tokens) return InvalidField(place.path, "needs tokens: it can only be the first layer on text");
  if (has_positions_ && !place.input.is_sequence()) {
    return InvalidField(place.path + ".positions", "needs a sequence, but the input has no time axis; got true");
  }
  batch_ = plan->batch_size();
  rows_ = plan->Rows(place.input);
  vocabulary_ = place.input.features;
  weight_ = AddParameter(place.name + ".weight", {vocabulary_, units_}, place.depth, weight_init_, plan);
  if (has_positions_) {
    positions_ = AddParameter(place.name + ".positions", {place.input.steps, units_}, place.depth, weight_init_, plan);
  }
  LayerPlan result;
  result.output = {.steps = place.input.steps, .features = units_};
  return result;
}

template <typename T>
void Embedding<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  for (int64_t r = 0; r < rows_; ++r) {
    const T* const vector = pass.parameters + weight_ + x.tokens[r] * units_;
    if (has_positions_) {
      Add(units_, vector, pass.parameters + positions_ + r / batch_ * units_, y + r * units_);
    } else {
      std::copy_n(vector, units_, y + r * units_);
    }
  }
}

template <typename T>
void Embedding<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* /*dx*/) {
  std::fill_n(pass.gradients + weight_, vocabulary_ * units_, T(0));
  for (int64_t r = 0; r < rows_; ++r) {
    AddTo(units_, dy + r * units_, pass.gradients + weight_ + x.tokens[r] * units_);
  }
  if (!has_positions_) return;
  for (int64_t t = 0; t < rows_ / batch_; ++t) {
    SumRows(batch_, units_, dy + t * batch_ * units_, pass.gradients + positions_ + t * units_);
  }
}

GW_INSTANTIATE_TEMPLATE(Embedding);

}  // namespace gradwatch::core
