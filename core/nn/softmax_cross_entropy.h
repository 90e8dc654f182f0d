// Softmax cross-entropy in nats, through the log of the sum of exponentials: log(sum_j exp z_j) - z_class.
#ifndef GRADWATCH_CORE_NN_SOFTMAX_CROSS_ENTROPY_H_
#define GRADWATCH_CORE_NN_SOFTMAX_CROSS_ENTROPY_H_

#include <cstdint>

#include "core/nn/loss_function.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

template <typename T>
class SoftmaxCrossEntropy final : public LossFunction<T> {
 public:
  static constexpr DataShape::Target kTarget = DataShape::Target::kClasses;
  Sum<T> Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const override;
  // The largest output is the prediction; of equal ones the first. A row that holds a NaN predicts nothing.
  std::optional<int64_t> Correct(int64_t rows, int64_t columns, const T* outputs, const Batch& batch) const override;
};

GW_EXTERN_TEMPLATE(SoftmaxCrossEntropy);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SOFTMAX_CROSS_ENTROPY_H_
