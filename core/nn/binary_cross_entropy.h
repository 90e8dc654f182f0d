// Binary cross-entropy of the sigmoid of the outputs z against targets t in [0, 1], in nats, the mean over all
// elements, as PyTorch's BCEWithLogitsLoss: max(z, 0) - z t + log(1 + exp(-|z|)), which no output makes overflow.
#ifndef GRADWATCH_CORE_NN_BINARY_CROSS_ENTROPY_H_
#define GRADWATCH_CORE_NN_BINARY_CROSS_ENTROPY_H_

#include <cstdint>

#include "core/nn/loss_function.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

template <typename T>
class BinaryCrossEntropy final : public LossFunction<T> {
 public:
  static constexpr DataShape::Target kTarget = DataShape::Target::kProbabilities;
  Sum<T> Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const override;
  // A row is right if each of its outputs is: above 0 where the target is above 1/2, else at most 0; never with a NaN.
  std::optional<int64_t> Correct(int64_t rows, int64_t columns, const T* outputs, const Batch& batch) const override;
};

GW_EXTERN_TEMPLATE(BinaryCrossEntropy);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_BINARY_CROSS_ENTROPY_H_
