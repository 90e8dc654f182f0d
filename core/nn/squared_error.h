// Squared error: the mean of (y - target)^2 over all elements, as PyTorch's MSELoss.
#ifndef GRADWATCH_CORE_NN_SQUARED_ERROR_H_
#define GRADWATCH_CORE_NN_SQUARED_ERROR_H_

#include <cstdint>

#include "core/nn/loss_function.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

template <typename T>
class SquaredError final : public LossFunction<T> {
 public:
  static constexpr DataShape::Target kTarget = DataShape::Target::kValues;
  Sum<T> Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const override;
};

GW_EXTERN_TEMPLATE(SquaredError);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SQUARED_ERROR_H_
