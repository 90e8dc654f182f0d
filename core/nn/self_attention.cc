#include "core/nn/self_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/nn/field_checks.h"
#include "core/nn/rows.h"

namespace gradwatch::core {
namespace {
constexpr int64_t kMaxHeads = 256;
}  // namespace

template <typename T>
void SelfAttention<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::SelfAttention& attention = spec.self_attention();
  CheckRange(scope.path + ".heads", attention.heads(), 1, kMaxHeads, scope.errors);
  heads_ = attention.heads();
  weight_init_ = CheckInitializer(scope.path + ".weight_init", attention.weight_init(), v1::INITIALIZER_METHOD_XAVIER,
                                  scope.errors);
}

template <typename T>
absl::StatusOr<LayerPlan> SelfAttention<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  if (!place.input.is_sequence()) {
    return InvalidField(place.path, "needs a sequence, but its input has no time axis");
  }
  features_ = place.input.features;
  if (features_ % heads_ != 0) {
    return InvalidField(place.path + ".heads",
                        absl::StrCat("must divide the ", features_, " features of the input; got ", heads_));
  }
  batch_ = plan->batch_size();
  steps_ = place.input.steps;
  width_ = features_ / heads_;
  scale_ = static_cast<T>(1 / std::sqrt(static_cast<double>(width_)));
  attention_ = CausalAttention<T>(steps_, width_, plan);
  LayerPlace inside = place;
  in_ = Projection<T>(inside, 3 * features_, plan);
  inside.input_gradient = true;
  out_ = Projection<T>(inside, features_, plan);

  kept_ = plan->Keep(MultiplySizes(MultiplySizes(batch_, heads_), attention_.kept_size()));
  joined_ = plan->Keep(plan->Size(place.input));
  largest_logit_ = plan->Keep(1);
  // Joined heads and q, k, v of all rows; of one head four matrices and its own scratch.
  const int64_t all = AlignSize(MultiplySizes(4, plan->Size(place.input))) + kArenaAlignment;
  plan->NeedScratch(AddSizes(all, AddSizes(4 * AlignSize(attention_.size()), attention_.scratch_size())));

  in_weight_ =
      AddParameter(place.name + ".in_proj_weight", {3 * features_, features_}, place.depth, weight_init_, plan);
  in_bias_ = AddParameter(place.name + ".in_proj_bias", {3 * features_}, place.depth, ZeroInitializer(), plan);
  out_weight_ = AddParameter(place.name + ".out_proj_weight", {features_, features_}, place.depth, weight_init_, plan);
  out_bias_ = AddParameter(place.name + ".out_proj_bias", {features_}, place.depth, ZeroInitializer(), plan);
  LayerPlan result;
  result.output = {.steps = steps_, .features = features_};
  return result;
}

template <typename T>
void SelfAttention<T>::Gather(const T* rows, int64_t columns, int64_t example, int64_t first, T scale, T* head) const {
  for (int64_t t = 0; t < steps_; ++t) {
    const T* const row = rows + (t * batch_ + example) * columns + first;
    for (int64_t j = 0; j < width_; ++j) head[t * width_ + j] = row[j] * scale;
  }
}

template <typename T>
void SelfAttention<T>::Scatter(const T* head, T scale, T* rows, int64_t columns, int64_t example, int64_t first) const {
  for (int64_t t = 0; t < steps_; ++t) {
    T* const row = rows + (t * batch_ + example) * columns + first;
    for (int64_t j = 0; j < width_; ++j) row[j] = head[t * width_ + j] * scale;
  }
}

template <typename T>
void SelfAttention<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  Scratch<T> scratch = pass.scratch;
  const int64_t columns = 3 * features_;
  T *const qkv = scratch.Take(in_.rows() * columns), *const out = scratch.Take(attention_.size());
  in_.Forward(pass, scratch, x, pass.parameters + in_weight_, pass.parameters + in_bias_, qkv);

  T* const joined = pass.kept + joined_;
  T* const largest_logit = pass.measures_layers() ? pass.kept + largest_logit_ : nullptr;
  if (largest_logit != nullptr) *largest_logit = T(-std::numeric_limits<double>::infinity());
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t n = 0; n < heads_; ++n) {
      const Kept kept = KeptOf(pass, b, n);
      const int64_t first = n * width_;
      Gather(qkv, columns, b, first, scale_, kept.q);
      Gather(qkv, columns, b, first + features_, T(1), kept.k);
      Gather(qkv, columns, b, first + 2 * features_, T(1), kept.v);
      attention_.Forward(kept, out, pass.product, largest_logit);
      Scatter(out, T(1), joined, features_, b, first);
    }
  }
  out_.Forward(pass, scratch, {.values = joined}, pass.parameters + out_weight_, pass.parameters + out_bias_, y);
}

template <typename T>
void SelfAttention<T>::MeasureAttention(const Pass<T>& pass, LayerStatistics* statistics) const {
  if constexpr (!kIsComplex<T>) {
    statistics->has_attention = true;
    statistics->largest_logit = pass.kept[largest_logit_];
    double sum = 0;
    for (int64_t b = 0; b < batch_; ++b) {
      for (int64_t n = 0; n < heads_; ++n) sum += attention_.SumOfEntropies(KeptOf(pass, b, n));
    }
    // 0 / 0 where there is a single step, and so no query with a choice; beyond 1 by rounding alone.
    const double mean = sum / static_cast<double>(batch_ * heads_ * (steps_ - 1));
    if (std::isfinite(mean)) statistics->attention_entropy = std::clamp(mean, 0.0, 1.0);
  }
}

template <typename T>
void SelfAttention<T>::HeadsBackward(const Pass<T>& pass, Scratch<T> scratch, const T* djoined, T* dqkv) const {
  const int64_t size = attention_.size(), columns = 3 * features_;
  T *const dout = scratch.Take(size), *const dq = scratch.Take(size), *const dk = scratch.Take(size),
           *const dv = scratch.Take(size);
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t n = 0; n < heads_; ++n) {
      const int64_t first = n * width_;
      Gather(djoined, features_, b, first, T(1), dout);
      attention_.Backward(KeptOf(pass, b, n), dout, dq, dk, dv, scratch, pass.product);
      Scatter(dq, scale_, dqkv, columns, b, first);
      Scatter(dk, T(1), dqkv, columns, b, first + features_);
      Scatter(dv, T(1), dqkv, columns, b, first + 2 * features_);
    }
  }
}

template <typename T>
void SelfAttention<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  Scratch<T> scratch = pass.scratch;
  T *const djoined = scratch.Take(in_.rows() * features_), *const dqkv = scratch.Take(in_.rows() * 3 * features_);
  out_.WeightGradient(pass, scratch, {.values = pass.kept + joined_}, dy, pass.gradients + out_weight_);
  SumRows(out_.rows(), features_, dy, pass.gradients + out_bias_);
  out_.InputGradient(pass, pass.parameters + out_weight_, dy, djoined);
  HeadsBackward(pass, scratch, djoined, dqkv);
  in_.WeightGradient(pass, scratch, x, dqkv, pass.gradients + in_weight_);
  SumRows(in_.rows(), 3 * features_, dqkv, pass.gradients + in_bias_);
  if (dx != nullptr) in_.InputGradient(pass, pass.parameters + in_weight_, dqkv, dx);
}

GW_INSTANTIATE_TEMPLATE(SelfAttention);

}  // namespace gradwatch::core
