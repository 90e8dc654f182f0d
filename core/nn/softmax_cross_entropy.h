// Softmax cross-entropy in nats, through the log of the sum of exponentials: log(sum_j exp z_j) - z_class.
#ifndef GRADWATCH_CORE_NN_SOFTMAX_CROSS_ENTROPY_H_
#define GRADWATCH_CORE_NN_SOFTMAX_CROSS_ENTROPY_H_

#include <cstdint>

#include "core/nn/loss_function.h"

namespace gradwatch::core {

template <typename T>
class SoftmaxCrossEntropy final : public LossFunction<T> {
 public:
  static constexpr DataShape::Target kTarget = DataShape::Target::kClasses;
  double Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const override;
};

extern template class SoftmaxCrossEntropy<float>;
extern template class SoftmaxCrossEntropy<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SOFTMAX_CROSS_ENTROPY_H_
