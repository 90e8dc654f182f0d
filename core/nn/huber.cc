#include "core/nn/huber.h"

#include "core/nn/elementary.h"
#include "core/nn/sums.h"

namespace gradwatch::core {

// With c = d held within delta the loss is c (d - c / 2) on both sides.
template <typename T>
Sum<T> Huber<T>::Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const {
  const int64_t size = rows * columns;
  const double delta = delta_;
  const float* const targets = batch.values.data();
  if (gradient != nullptr) {
    const T scale = T(1) / static_cast<T>(size);
    const T* __restrict y = outputs;
    T* __restrict g = gradient;
    for (int64_t i = 0; i < size; ++i) g[i] = scale * Clamp(y[i] - static_cast<T>(targets[i]), -delta, delta);
  }
  const SumPair<T> sums = AddUp<T>(size, [=](int64_t i) -> SumPair<T> {
    const Sum<T> d = static_cast<Sum<T>>(outputs[i] - static_cast<T>(targets[i]));
    const Sum<T> c = Clamp(d, -delta, delta);
    return {c * d, c * c};
  });
  return (sums.first - 0.5 * sums.second) / static_cast<double>(size);
}

GW_INSTANTIATE_TEMPLATE(Huber);

}  // namespace gradwatch::core
