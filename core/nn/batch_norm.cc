#include "core/nn/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/base/field_range.h"
#include "core/nn/field_checks.h"
#include "core/nn/sums.h"

namespace gradwatch::core {
namespace {

constexpr double kDefaultEpsilon = 1e-5, kDefaultMomentum = 0.1;

// Extents of what is normalised.
struct Extents {
  int64_t rows, channels, pixels;
};

// Calls `kernel(step, size, channel, start)` for each run of numbers that lie together from `start` on: a row of all
// channels (step 1: the next number is the next channel's), or with pixels the plane of one channel (step 0).
template <typename Kernel>
void ForEachRun(const Extents& e, const Kernel& kernel) {
  for (int64_t r = 0; r < e.rows; ++r) {
    const int64_t row = r * e.channels * e.pixels;
    if (e.pixels == 1) {
      kernel(std::integral_constant<int, 1>(), e.channels, int64_t{0}, row);
      continue;
    }
    for (int64_t c = 0; c < e.channels; ++c) {
      kernel(std::integral_constant<int, 0>(), e.pixels, c, row + c * e.pixels);
    }
  }
}

// Adds the two terms of each number to the sums of its channel.
template <int kStep, typename T, typename Terms>
void AddTerms(int64_t size, const Terms& terms, Sum<T>* __restrict first, Sum<T>* __restrict second) {
  if constexpr (kStep == 0) {
    const SumPair<T> sums = AddUp<T>(size, terms);
    *first += sums.first;
    *second += sums.second;
  } else {
    for (int64_t i = 0; i < size; ++i) {
      const SumPair<T> term = terms(i);
      first[i] += term.first;
      second[i] += term.second;
    }
  }
}

// Distances from `shift` and their squares.
template <int kStep, typename T>
void AddMoments(int64_t size, const T* x, const T* shift, Sum<T>* first, Sum<T>* second) {
  const auto terms = [x, shift](int64_t i) -> SumPair<T> {
    const Sum<T> distance = static_cast<Sum<T>>(x[i]) - static_cast<Sum<T>>(shift[i * kStep]);
    return {distance, distance * distance};
  };
  AddTerms<kStep, T>(size, terms, first, second);
}

// dy and dy (x - mean).
template <int kStep, typename T>
void AddGradients(int64_t size, const T* x, const T* mean, const T* dy, Sum<T>* first, Sum<T>* second) {
  const auto terms = [x, mean, dy](int64_t i) -> SumPair<T> {
    return {static_cast<Sum<T>>(dy[i]), static_cast<Sum<T>>(dy[i] * (x[i] - mean[i * kStep]))};
  };
  AddTerms<kStep, T>(size, terms, first, second);
}

template <int kStep, typename T>
void Normalize(int64_t size, const T* __restrict x, const T* __restrict mean, const T* __restrict factor,
               const T* __restrict gamma, const T* __restrict beta, T* __restrict y) {
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i * kStep;
    y[i] = (x[i] - mean[c]) * factor[c] * gamma[c] + beta[c];
  }
}

template <int kStep, typename T>
void InputGradient(int64_t size, const T* __restrict x, const T* __restrict mean, const T* __restrict scale,
                   const T* __restrict mean_dy, const T* __restrict slope, const T* __restrict dy, T* __restrict dx) {
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i * kStep;
    dx[i] = scale[c] * (dy[i] - mean_dy[c] - (x[i] - mean[c]) * slope[c]);
  }
}

// Moves `running` towards `now`.
template <typename T>
void Follow(double momentum, T now, T* running) {
  *running = static_cast<T>((1 - momentum) * static_cast<Sum<T>>(*running) + momentum * static_cast<Sum<T>>(now));
}

}  // namespace

template <typename T>
void BatchNorm<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::BatchNorm& norm = spec.batch_norm();
  epsilon_ = norm.has_epsilon() ? norm.epsilon() : kDefaultEpsilon;
  momentum_ = norm.has_momentum() ? norm.momentum() : kDefaultMomentum;
  CheckPositive(scope.path + ".epsilon", epsilon_, scope.errors);
  CheckAbove(*scope.errors, scope.path + ".momentum", momentum_, 0, 1);
}

template <typename T>
absl::StatusOr<LayerPlan> BatchNorm<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  rows_ = plan->Rows(place.input);
  channels_ = place.input.is_image() ? place.input.channels : place.input.features;
  pixels_ = place.input.features / channels_;
  if (MultiplySizes(rows_, pixels_) < 2) {
    return InvalidField(place.path, "needs a batch of at least 2 to measure a variance; got a batch of 1");
  }
  weight_ = AddParameter(place.name + ".weight", {channels_}, place.depth, OneInitializer(), plan);
  bias_ = AddParameter(place.name + ".bias", {channels_}, place.depth, ZeroInitializer(), plan);
  means_ = plan->Keep(channels_);
  factors_ = plan->Keep(channels_);
  running_means_ = plan->KeepState(channels_);
  running_variances_ = plan->KeepState(channels_);
  plan->NeedScratch(2 * SumMemory<T>(channels_) + 3 * AlignSize(channels_));
  LayerPlan result;
  result.output = place.input;
  return result;
}

template <typename T>
void BatchNorm<T>::InitializeState(T* state) const {
  std::fill_n(state + running_variances_, channels_, T(1));
}

template <typename T>
void BatchNorm<T>::MeasureBatch(const Pass<T>& pass, const T* x) const {
  Scratch<T> scratch = pass.scratch;
  Sum<T>* const first = TakeSums(&scratch, channels_);
  Sum<T>* const second = TakeSums(&scratch, channels_);
  T* const shift = scratch.Take(channels_);
  std::fill_n(first, channels_, Sum<T>(0));
  std::fill_n(second, channels_, Sum<T>(0));
  for (int64_t c = 0; c < channels_; ++c) shift[c] = x[c * pixels_];
  ForEachRun({rows_, channels_, pixels_}, [=](auto step, int64_t size, int64_t c, int64_t start) {
    AddMoments<step>(size, x + start, shift + c, first + c, second + c);
  });
  const int64_t count = rows_ * pixels_;
  const double unbiased = static_cast<double>(count) / static_cast<double>(count - 1);
  for (int64_t c = 0; c < channels_; ++c) {
    const Moments<T> moments(static_cast<Sum<T>>(shift[c]), {first[c], second[c]}, count);
    pass.kept[means_ + c] = static_cast<T>(moments.mean);
    pass.kept[factors_ + c] = static_cast<T>(1.0 / std::sqrt(moments.variance + epsilon_));
    const T variance = static_cast<T>(moments.variance * unbiased);
    if (!std::isfinite(RealPart(pass.kept[means_ + c])) || !std::isfinite(RealPart(variance))) continue;
    Follow(momentum_, pass.kept[means_ + c], pass.state + running_means_ + c);
    Follow(momentum_, variance, pass.state + running_variances_ + c);
  }
}

template <typename T>
void BatchNorm<T>::TakeRunning(const Pass<T>& pass) const {
  std::copy_n(pass.state + running_means_, channels_, pass.kept + means_);
  for (int64_t c = 0; c < channels_; ++c) {
    const Sum<T> variance = static_cast<Sum<T>>(pass.state[running_variances_ + c]);
    pass.kept[factors_ + c] = static_cast<T>(1.0 / std::sqrt(variance + epsilon_));
  }
}

template <typename T>
void BatchNorm<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  pass.training ? MeasureBatch(pass, x.values) : TakeRunning(pass);
  const T *mean = pass.kept + means_, *factor = pass.kept + factors_;
  const T *gamma = pass.parameters + weight_, *beta = pass.parameters + bias_, *from = x.values;
  ForEachRun({rows_, channels_, pixels_}, [=](auto step, int64_t size, int64_t c, int64_t start) {
    Normalize<step>(size, from + start, mean + c, factor + c, gamma + c, beta + c, y + start);
  });
}

// With z = (x - mean) factor: dx = gamma factor (dy - mean(dy) - z mean(dy z)).
template <typename T>
void BatchNorm<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  const Extents extents = {rows_, channels_, pixels_};
  Scratch<T> scratch = pass.scratch;
  Sum<T>* const first = TakeSums(&scratch, channels_);
  Sum<T>* const second = TakeSums(&scratch, channels_);
  std::fill_n(first, channels_, Sum<T>(0));
  std::fill_n(second, channels_, Sum<T>(0));
  const T *mean = pass.kept + means_, *from = x.values;
  ForEachRun(extents, [=](auto step, int64_t size, int64_t c, int64_t start) {
    AddGradients<step>(size, from + start, mean + c, dy + start, first + c, second + c);
  });

  T *const scale = scratch.Take(channels_), *const mean_dy = scratch.Take(channels_);
  T* const slope = scratch.Take(channels_);
  const double count = static_cast<double>(rows_ * pixels_);
  for (int64_t c = 0; c < channels_; ++c) {
    const Sum<T> factor = static_cast<Sum<T>>(pass.kept[factors_ + c]);
    pass.gradients[weight_ + c] = static_cast<T>(second[c] * factor);
    pass.gradients[bias_ + c] = static_cast<T>(first[c]);
    scale[c] = static_cast<T>(factor) * pass.parameters[weight_ + c];
    mean_dy[c] = static_cast<T>(first[c] / count);
    slope[c] = static_cast<T>(second[c] / count * factor * factor);
  }
  if (dx == nullptr) return;
  ForEachRun(extents, [=](auto step, int64_t size, int64_t c, int64_t start) {
    InputGradient<step>(size, from + start, mean + c, scale + c, mean_dy + c, slope + c, dy + start, dx + start);
  });
}

GW_INSTANTIATE_TEMPLATE(BatchNorm);

}  // namespace gradwatch::core
