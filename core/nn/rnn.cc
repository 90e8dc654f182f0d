#include "core/nn/rnn.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/nn/activation_function.h"
#include "core/nn/batch_parts.h"
#include "core/nn/field_checks.h"
#include "core/nn/rows.h"
#include "core/tensor/matrix_product.h"

namespace gradwatch::core {
namespace {
constexpr int64_t kMaxUnits = 65'536;

// Unset stands for tanh.
v1::ActivationFunction CheckNonlinearity(const std::string& path, v1::ActivationFunction function,
                                         FieldErrors* errors) {
  switch (function) {
    case v1::ACTIVATION_FUNCTION_UNSPECIFIED:
      return v1::ACTIVATION_FUNCTION_TANH;
    case v1::ACTIVATION_FUNCTION_TANH:
    case v1::ACTIVATION_FUNCTION_RELU:
      return function;
    default:
      errors->Add(path, absl::StrCat("must be ACTIVATION_FUNCTION_TANH or ACTIVATION_FUNCTION_RELU; got ",
                                     v1::ActivationFunction_IsValid(function) ? v1::ActivationFunction_Name(function)
                                                                              : absl::StrCat(function)));
      return function;
  }
}

}  // namespace

template <typename T>
void Rnn<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Rnn& rnn = spec.rnn();
  CheckRange(scope.path + ".units", rnn.units(), 1, kMaxUnits, scope.errors);
  units_ = rnn.units();
  function_ = CheckNonlinearity(scope.path + ".nonlinearity", rnn.nonlinearity(), scope.errors);
  const double pytorch_scale = 1 / std::sqrt(std::max(units_, int64_t{1}));
  input_init_ = CheckInitializer(scope.path + ".input_init", rnn.input_init(), v1::INITIALIZER_METHOD_XAVIER,
                                 scope.errors, pytorch_scale);
  recurrent_init_ = CheckInitializer(scope.path + ".recurrent_init", rnn.recurrent_init(),
                                     v1::INITIALIZER_METHOD_ORTHOGONAL, scope.errors, pytorch_scale);
  penalty_factor_ = rnn.vanishing_penalty();
  if (!std::isfinite(penalty_factor_) || penalty_factor_ < 0) {
    scope.errors->Add(scope.path + ".vanishing_penalty",
                      absl::StrCat("must be finite and not negative; got ", penalty_factor_));
  }
}

template <typename T>
absl::StatusOr<LayerPlan> Rnn<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  if (!place.input.is_sequence()) {
    return InvalidField(place.path, "needs a sequence, but its input has no time axis");
  }
  batch_ = plan->batch_size();
  steps_ = place.input.steps;
  projection_ = Projection<T>(place, units_, plan);
  plan->NeedProduct<T>({units_, units_, (steps_ - 1) * batch_});
  const int64_t sums = AlignSize(MultiplySizes(projection_.rows(), units_));
  const int64_t packed = AlignSize(PackedSize<T>(units_, units_));
  plan->NeedScratch(AddSizes(AlignSize(units_), std::max(packed, projection_.scratch_size())));  // forward
  plan->NeedScratch(AddSizes(sums, std::max(packed, projection_.scratch_size())));               // backward
  penalty_ = VanishingPenalty<T>(penalty_factor_, projection_.rows(), units_, plan);
  if (penalty_.enabled()) {
    plan->NeedScratch(AddSizes(AddSizes(sums, AlignSize(projection_.rows())),
                               std::max({packed, penalty_.scratch_size(), projection_.scratch_size()})));
  }

  weight_ih_ = AddParameter(place.name + ".weight_ih", {units_, place.input.features}, place.depth, input_init_, plan);
  weight_hh_ = AddParameter(place.name + ".weight_hh", {units_, units_}, place.depth, recurrent_init_, plan);
  bias_ih_ = AddParameter(place.name + ".bias_ih", {units_}, place.depth, ZeroInitializer(), plan);
  bias_hh_ = AddParameter(place.name + ".bias_hh", {units_}, place.depth, ZeroInitializer(), plan);
  LayerPlan result;
  result.output = {.steps = steps_, .features = units_};
  result.reads_output = true;
  result.function = function_;
  return result;
}

template <typename T>
void Rnn<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  Scratch<T> scratch = pass.scratch;
  T* const bias = scratch.Take(units_);
  Add(units_, pass.parameters + bias_ih_, pass.parameters + bias_hh_, bias);
  projection_.Forward(pass, scratch, x, pass.parameters + weight_ih_, bias, y);

  T* const packed = scratch.Take(PackedSize<T>(units_, units_));
  const PackedMatrix<T> weight = Pack<T>(units_, units_, pass.parameters + weight_hh_, /*transposed=*/true, packed);
  const int64_t step = batch_ * units_;
  ForBatchParts(pass, batch_, [&](int64_t begin, int64_t end) {
    T* h = y + begin * units_;
    const int64_t size = (end - begin) * units_;
    ApplyActivation(function_, size, h, h);
    for (int64_t t = 1; t < steps_; ++t, h += step) {
      MultiplyPacked(end - begin, h, weight, {.c = h + step, .add = true}, nullptr);
      ApplyActivation(function_, size, h + step, h + step);
    }
  });
}

template <typename T>
void Rnn<T>::BackThroughTime(const Pass<T>& pass, Scratch<T> scratch, const T* y, const T* dy, T* da,
                             T* dh_norms) const {
  T* const packed = scratch.Take(PackedSize<T>(units_, units_));
  const PackedMatrix<T> weight = Pack<T>(units_, units_, pass.parameters + weight_hh_, /*transposed=*/false, packed);
  const int64_t step = batch_ * units_;
  ForBatchParts(pass, batch_, [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin, size = count * units_;
    for (int64_t t = steps_ - 1; t >= 0; --t) {
      const int64_t place = t * step + begin * units_;
      T* const now = da + place;
      const T* dh = dy + place;
      if (t + 1 < steps_) {
        std::copy_n(dh, size, now);
        MultiplyPacked(count, now + step, weight, {.c = now, .add = true}, nullptr);
        dh = now;
      }
      if (dh_norms != nullptr) penalty_.MeasureNorms(count, dh, dh_norms + t * batch_ + begin);
      ActivationBackward(function_, size, y + place, dh, now);
    }
  });
}

template <typename T>
void Rnn<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) {
  Scratch<T> scratch = pass.scratch;
  T* const da = scratch.Take(projection_.rows() * units_);
  T* const dh_norms = penalty_.enabled() ? scratch.Take(projection_.rows()) : nullptr;
  BackThroughTime(pass, scratch, y, dy, da, dh_norms);

  projection_.WeightGradient(pass, scratch, x, da, pass.gradients + weight_ih_);
  SumRows(projection_.rows(), units_, da, pass.gradients + bias_ih_);
  std::copy_n(pass.gradients + bias_ih_, units_, pass.gradients + bias_hh_);
  Multiply(ProductForm::kTransposedLeft, {units_, units_, (steps_ - 1) * batch_}, da + batch_ * units_, y,
           {.c = pass.gradients + weight_hh_}, pass.product);
  if (penalty_.enabled()) {
    penalty_.AddGradient(dh_norms, da, pass.parameters + weight_hh_, pass.gradients + weight_hh_, scratch,
                         pass.product);
  }
  if (dx != nullptr) projection_.InputGradient(pass, pass.parameters + weight_ih_, da, dx);
}

GW_INSTANTIATE_TEMPLATE(Rnn);

}  // namespace gradwatch::core
