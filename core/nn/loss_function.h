// What every loss is: a mean over the rows of the outputs, and its gradient.
#ifndef GRADWATCH_CORE_NN_LOSS_FUNCTION_H_
#define GRADWATCH_CORE_NN_LOSS_FUNCTION_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/batch.h"
#include "core/tensor/scalar.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// The reason of an error that may be the data's as well as the model's: the end of the model, or its loss, is not for
// the targets that there are.
inline constexpr absl::string_view kDoesNotFitTargets = "DOES_NOT_FIT_TARGETS";

// T is a scalar of core/tensor/scalar.h. Immutable.
template <typename T>
class LossFunction {
 public:
  virtual ~LossFunction() = default;
  // The mean loss of `outputs` [rows, columns] against the batch's targets; unless `gradient` is null it becomes the
  // derivative by the outputs, of the same shape. Non-finite outputs give the loss that IEEE 754 gives.
  virtual Sum<T> Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const = 0;
  // How many of the rows predict their target, where that is a yes or a no; unset where it is not.
  virtual std::optional<int64_t> Correct(int64_t /*rows*/, int64_t /*columns*/, const T* /*outputs*/,
                                         const Batch& /*batch*/) const {
    return std::nullopt;
  }
};

// The targets that a loss takes; kValues of what is no loss. One that takes values takes probabilities too.
DataShape::Target TargetOf(v1::LossFunction function);

// Paths of violations are relative to the Loss. INVALID_ARGUMENT: no function, not for such targets
// (kDoesNotFitTargets), or a number that is out of range or another loss's.
template <typename T>
absl::StatusOr<std::unique_ptr<LossFunction<T>>> MakeLossFunction(const v1::Loss& spec, DataShape::Target target);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LOSS_FUNCTION_H_
