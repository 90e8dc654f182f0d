#include "core/nn/dropout.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"

namespace gradwatch::core {
namespace {

constexpr double kDefaultProbability = 0.5;
constexpr int64_t kDrawn = 256;  // numbers at a time

// Batches are numbered below 2^40, layers below 2^24.
uint64_t StreamIndex(uint64_t depth, int64_t batch_number) { return depth << 40 | static_cast<uint64_t>(batch_number); }

}  // namespace

template <typename T>
void Dropout<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  probability_ = spec.dropout().has_probability() ? spec.dropout().probability() : kDefaultProbability;
  if (probability_ >= 0 && probability_ < 1) return;
  scope.errors->Add(scope.path + ".probability", absl::StrCat("must be from 0 to below 1; got ", probability_));
}

template <typename T>
absl::StatusOr<LayerPlan> Dropout<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  depth_ = static_cast<uint64_t>(place.depth);
  size_ = plan->Size(place.input);
  if (probability_ > 0) mask_ = plan->Keep((size_ + sizeof(T) - 1) / sizeof(T));
  LayerPlan result;
  result.output = place.input;
  result.in_place = result.in_place_backward = true;
  return result;
}

template <typename T>
void Dropout<T>::DrawMask(const Pass<T>& pass) const {
  const auto drop_below = static_cast<uint32_t>(std::min(probability_ * 0x1p32, 0x1p32 - 1));
  const Random random(pass.seed, RandomStream::kDropout, StreamIndex(depth_, pass.batch_number));
  std::array<uint32_t, kDrawn> bits;
  uint8_t* const mask = Mask(pass);
  for (int64_t start = 0; start < size_; start += kDrawn) {
    random.Bits(start, bits);
    uint8_t* const to = mask + start;
    const int64_t count = std::min(kDrawn, size_ - start);
    for (int64_t i = 0; i < count; ++i) to[i] = bits[i] >= drop_below ? 1 : 0;
  }
}

// Multiplies instead of choosing, so that NaN is never dropped.
template <typename T>
void Dropout<T>::ApplyMask(const uint8_t* mask, const T* from, T* to) const {
  const T scale = static_cast<T>(1 / (1 - probability_));
  if (from == to) {
    T* __restrict both = to;
    for (int64_t i = 0; i < size_; ++i) both[i] *= scale * static_cast<T>(mask[i]);
    return;
  }
  const T* __restrict x = from;
  T* __restrict y = to;
  for (int64_t i = 0; i < size_; ++i) y[i] = x[i] * (scale * static_cast<T>(mask[i]));
}

template <typename T>
void Dropout<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  if (!pass.training || probability_ == 0) {
    if (y != x.values) std::copy_n(x.values, size_, y);
    return;
  }
  DrawMask(pass);
  ApplyMask(Mask(pass), x.values, y);
}

template <typename T>
void Dropout<T>::Backward(const Pass<T>& pass, const LayerInput<T>& /*x*/, const T* /*y*/, const T* dy, T* dx) {
  if (dx == nullptr) return;
  if (probability_ > 0) return ApplyMask(Mask(pass), dy, dx);
  if (dx != dy) std::copy_n(dy, size_, dx);
}

GW_INSTANTIATE_TEMPLATE(Dropout);

}  // namespace gradwatch::core
