#include "core/nn/softmax_cross_entropy.h"

#include <Eigen/Core>
#include <cmath>

namespace gradwatch::core {
namespace {

template <typename T>
using Row = Eigen::Map<const Eigen::Array<T, 1, Eigen::Dynamic>>;
template <typename T>
using MutableRow = Eigen::Map<Eigen::Array<T, 1, Eigen::Dynamic>>;

// Loss of one row; its softmax goes to `softmax` if not null. A NaN that the maximum drops comes back in the sum.
template <typename T>
double RowLoss(int64_t columns, const T* outputs, int32_t target, T* softmax) {
  const Row<T> z(outputs, columns);
  const T max = z.maxCoeff();
  double sum;
  if (softmax == nullptr) {
    sum = (z - max).exp().sum();
  } else {
    MutableRow<T> p(softmax, columns);
    p = (z - max).exp();
    sum = p.sum();
    p *= static_cast<T>(1 / sum);
  }
  return std::log(sum) + (static_cast<double>(max) - static_cast<double>(outputs[target]));
}

}  // namespace

template <typename T>
double SoftmaxCrossEntropy<T>::Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch,
                                    T* gradient) const {
  const T scale = T(1) / static_cast<T>(rows);
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    T* const g = gradient == nullptr ? nullptr : gradient + r * columns;
    sum += RowLoss(columns, outputs + r * columns, batch.classes[r], g);
    if (g == nullptr) continue;
    g[batch.classes[r]] -= T(1);
    MutableRow<T>(g, columns) *= scale;
  }
  return sum / static_cast<double>(rows);
}

template class SoftmaxCrossEntropy<float>;
template class SoftmaxCrossEntropy<double>;

}  // namespace gradwatch::core
