#include "core/nn/binary_cross_entropy.h"

#include "core/nn/activation_formulas.h"
#include "core/nn/sums.h"

namespace gradwatch::core {

template <typename T>
Sum<T> BinaryCrossEntropy<T>::Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch,
                                   T* gradient) const {
  const int64_t size = rows * columns;
  const float* const targets = batch.values.data();
  if (gradient != nullptr) {
    const T scale = T(1) / static_cast<T>(size);
    const T* __restrict z = outputs;
    T* __restrict g = gradient;
    for (int64_t i = 0; i < size; ++i) g[i] = scale * (Logistic<T>(z[i]).value - static_cast<T>(targets[i]));
  }
  const SumPair<T> sums = AddUp<T>(size, [=](int64_t i) -> SumPair<T> {
    const T z = outputs[i];
    const T error = z * (T(RealPart(z) < 0 ? 0 : 1) - static_cast<T>(targets[i]));  // max(z, 0) - z t
    return {static_cast<Sum<T>>(error), static_cast<Sum<T>>(Log1pOfFraction(ExpOfNegative(-Magnitude(z))))};
  });
  return (sums.first + sums.second) / static_cast<double>(size);
}

template <typename T>
std::optional<int64_t> BinaryCrossEntropy<T>::Correct(int64_t rows, int64_t columns, const T* outputs,
                                                      const Batch& batch) const {
  int64_t correct = 0;
  for (int64_t r = 0; r < rows; ++r) {
    bool right = true;
    for (int64_t i = r * columns; i < (r + 1) * columns; ++i) {
      const bool wanted = batch.values[i] > 0.5f;
      right = right && (wanted ? RealPart(outputs[i]) > 0 : RealPart(outputs[i]) <= 0);
    }
    correct += right ? 1 : 0;
  }
  return correct;
}

GW_INSTANTIATE_TEMPLATE(BinaryCrossEntropy);

}  // namespace gradwatch::core
