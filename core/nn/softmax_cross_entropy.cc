#include "core/nn/softmax_cross_entropy.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace gradwatch::core {
namespace {

template <typename T>
using Row = Eigen::Map<const Eigen::Array<T, 1, Eigen::Dynamic>>;
template <typename T>
using MutableRow = Eigen::Map<Eigen::Array<T, 1, Eigen::Dynamic>>;

// Any number near the largest keeps the exponentials in range.
template <typename T>
T Shift(const Row<T>& z) {
  if constexpr (kIsComplex<T>) {
    return z.real().maxCoeff();
  } else {
    return z.maxCoeff();
  }
}

// Loss of one row; its softmax goes to `softmax` if not null. A NaN that the maximum drops comes back in the sum.
template <typename T>
Sum<T> RowLoss(int64_t columns, const T* outputs, int32_t target, T* softmax) {
  const Row<T> z(outputs, columns);
  const T max = Shift<T>(z);
  Sum<T> sum;
  if (softmax == nullptr) {
    sum = (z - max).exp().sum();
  } else {
    MutableRow<T> p(softmax, columns);
    p = (z - max).exp();
    sum = p.sum();
    p *= static_cast<T>(1.0 / sum);
  }
  return std::log(sum) + (static_cast<Sum<T>>(max) - static_cast<Sum<T>>(outputs[target]));
}

}  // namespace

template <typename T>
Sum<T> SoftmaxCrossEntropy<T>::Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch,
                                    T* gradient) const {
  const T scale = T(1) / static_cast<T>(rows);
  Sum<T> sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    T* const g = gradient == nullptr ? nullptr : gradient + r * columns;
    sum += RowLoss(columns, outputs + r * columns, batch.classes[r], g);
    if (g == nullptr) continue;
    g[batch.classes[r]] -= T(1);
    MutableRow<T>(g, columns) *= scale;
  }
  return sum / static_cast<double>(rows);
}

template <typename T>
std::optional<int64_t> SoftmaxCrossEntropy<T>::Correct(int64_t rows, int64_t columns, const T* outputs,
                                                       const Batch& batch) const {
  int64_t correct = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const T* const row = outputs + r * columns;
    const T* const own = row + batch.classes[r];
    // A NaN fails every comparison.
    const bool right = std::all_of(row, own, [own](T z) { return RealPart(z) < RealPart(*own); }) &&
                       std::all_of(own, row + columns, [own](T z) { return RealPart(z) <= RealPart(*own); });
    correct += right ? 1 : 0;
  }
  return correct;
}

GW_INSTANTIATE_TEMPLATE(SoftmaxCrossEntropy);

}  // namespace gradwatch::core
