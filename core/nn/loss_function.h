// What every loss is: a mean over the rows of the outputs, and its gradient.
#ifndef GRADWATCH_CORE_NN_LOSS_FUNCTION_H_
#define GRADWATCH_CORE_NN_LOSS_FUNCTION_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/batch.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// T is float or double. Immutable.
template <typename T>
class LossFunction {
 public:
  virtual ~LossFunction() = default;
  // The mean loss of `outputs` [rows, columns] against the batch's targets; unless `gradient` is null it becomes the
  // derivative by the outputs, of the same shape. Non-finite outputs give the loss that IEEE 754 gives.
  virtual double Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const = 0;
};

// Paths of violations are relative to the Loss. INVALID_ARGUMENT: no function, not served yet, or not for such targets.
template <typename T>
absl::StatusOr<std::unique_ptr<LossFunction<T>>> MakeLossFunction(const v1::Loss& spec, DataShape::Target target);

extern template absl::StatusOr<std::unique_ptr<LossFunction<float>>> MakeLossFunction(const v1::Loss&,
                                                                                      DataShape::Target);
extern template absl::StatusOr<std::unique_ptr<LossFunction<double>>> MakeLossFunction(const v1::Loss&,
                                                                                       DataShape::Target);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LOSS_FUNCTION_H_
