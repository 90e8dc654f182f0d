#include "core/nn/row_norm.h"

#include <algorithm>
#include <cmath>

#include "core/nn/field_checks.h"
#include "core/nn/sums.h"

namespace gradwatch::core {
namespace {

constexpr double kDefaultEpsilon = 1e-5;

// sum_g += dy and sum_gx += dy * (x - mean) * factor.
template <typename T>
void AddParameterGradients(int64_t features, T mean, T factor, const T* __restrict x, const T* __restrict dy,
                           Sum<T>* __restrict sum_g, Sum<T>* __restrict sum_gx) {
  for (int64_t i = 0; i < features; ++i) {
    sum_g[i] += static_cast<Sum<T>>(dy[i]);
    sum_gx[i] += static_cast<Sum<T>>(dy[i] * ((x[i] - mean) * factor));
  }
}

}  // namespace

template <typename T>
void RowNorm<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  centered_ = spec.has_layer_norm();
  const bool is_set = centered_ ? spec.layer_norm().has_epsilon() : spec.rms_norm().has_epsilon();
  const double given = centered_ ? spec.layer_norm().epsilon() : spec.rms_norm().epsilon();
  epsilon_ = is_set ? given : kDefaultEpsilon;
  CheckPositive(scope.path + ".epsilon", epsilon_, scope.errors);
}

template <typename T>
absl::StatusOr<LayerPlan> RowNorm<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  rows_ = plan->Rows(place.input);
  features_ = place.input.features;
  weight_ = AddParameter(place.name + ".weight", {features_}, place.depth, OneInitializer(), plan);
  if (centered_) bias_ = AddParameter(place.name + ".bias", {features_}, place.depth, ZeroInitializer(), plan);
  means_ = plan->Keep(rows_);
  factors_ = plan->Keep(rows_);
  plan->NeedScratch(2 * SumMemory<T>(features_));
  LayerPlan result;
  result.output = place.input;
  return result;
}

template <typename T>
typename RowNorm<T>::Normalizer RowNorm<T>::Measure(const T* x) const {
  const Sum<T> shift = centered_ ? static_cast<Sum<T>>(x[0]) : Sum<T>(0);
  const SumPair<T> sums = AddUp<T>(features_, [x, shift](int64_t i) -> SumPair<T> {
    const Sum<T> distance = static_cast<Sum<T>>(x[i]) - shift;
    return {distance, distance * distance};
  });
  if (!centered_)
    return {T(0), static_cast<T>(1.0 / std::sqrt(sums.second / static_cast<double>(features_) + epsilon_))};
  const Moments<T> moments(shift, sums, features_);
  return {static_cast<T>(moments.mean), static_cast<T>(1.0 / std::sqrt(moments.variance + epsilon_))};
}

template <typename T>
void RowNorm<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  const T* const gamma = pass.parameters + weight_;
  const T* const beta = pass.parameters + bias_;
  for (int64_t r = 0; r < rows_; ++r) {
    const T* __restrict from = x.values + r * features_;
    T* __restrict to = y + r * features_;
    const Normalizer row = Measure(from);
    pass.kept[means_ + r] = row.mean;
    pass.kept[factors_ + r] = row.factor;
    if (centered_) {
      for (int64_t i = 0; i < features_; ++i) to[i] = (from[i] - row.mean) * row.factor * gamma[i] + beta[i];
    } else {
      for (int64_t i = 0; i < features_; ++i) to[i] = from[i] * row.factor * gamma[i];
    }
  }
}

// With g = gamma dy and z = (x - mean) factor: dx = factor (g - mean(g) - z mean(g z)), without mean(g) for RmsNorm.
template <typename T>
void RowNorm<T>::InputGradient(const Normalizer& row, const T* gamma, const T* __restrict x, const T* __restrict dy,
                               T* __restrict dx) const {
  const T mean = row.mean;
  const SumPair<T> sums = AddUp<T>(features_, [=](int64_t i) -> SumPair<T> {
    const T g = gamma[i] * dy[i];
    return {static_cast<Sum<T>>(g), static_cast<Sum<T>>(g * (x[i] - mean))};
  });
  const double n = static_cast<double>(features_);
  const Sum<T> factor = static_cast<Sum<T>>(row.factor);
  const T mean_g = centered_ ? static_cast<T>(sums.first / n) : T(0);
  const T mean_gz = static_cast<T>(sums.second / n * factor * factor);
  for (int64_t i = 0; i < features_; ++i) {
    dx[i] = row.factor * (gamma[i] * dy[i] - mean_g - (x[i] - mean) * mean_gz);
  }
}

template <typename T>
void RowNorm<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  Scratch<T> scratch = pass.scratch;
  Sum<T>* const sum_g = TakeSums(&scratch, features_);
  Sum<T>* const sum_gz = TakeSums(&scratch, features_);
  std::fill_n(sum_g, features_, Sum<T>(0));
  std::fill_n(sum_gz, features_, Sum<T>(0));
  for (int64_t r = 0; r < rows_; ++r) {
    const Normalizer row = {pass.kept[means_ + r], pass.kept[factors_ + r]};
    const int64_t start = r * features_;
    AddParameterGradients(features_, row.mean, row.factor, x.values + start, dy + start, sum_g, sum_gz);
    if (dx != nullptr) InputGradient(row, pass.parameters + weight_, x.values + start, dy + start, dx + start);
  }
  for (int64_t i = 0; i < features_; ++i) pass.gradients[weight_ + i] = static_cast<T>(sum_gz[i]);
  if (!centered_) return;
  for (int64_t i = 0; i < features_; ++i) pass.gradients[bias_ + i] = static_cast<T>(sum_g[i]);
}

GW_INSTANTIATE_TEMPLATE(RowNorm);

}  // namespace gradwatch::core
