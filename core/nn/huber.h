// Huber loss of the difference d = y - target: d^2 / 2 up to delta, delta (|d| - delta / 2) beyond, the mean over all
// elements, as PyTorch's HuberLoss. Its gradient is d held within delta, so a single example cannot make it explode.
#ifndef GRADWATCH_CORE_NN_HUBER_H_
#define GRADWATCH_CORE_NN_HUBER_H_

#include <cstdint>

#include "core/nn/loss_function.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

template <typename T>
class Huber final : public LossFunction<T> {
 public:
  static constexpr DataShape::Target kTarget = DataShape::Target::kValues;
  // `delta` is finite and above 0.
  explicit Huber(double delta) : delta_(delta) {}
  Sum<T> Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const override;

 private:
  const double delta_;
};

GW_EXTERN_TEMPLATE(Huber);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_HUBER_H_
