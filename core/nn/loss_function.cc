#include "core/nn/loss_function.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/nn/binary_cross_entropy.h"
#include "core/nn/field_checks.h"
#include "core/nn/huber.h"
#include "core/nn/softmax_cross_entropy.h"
#include "core/nn/squared_error.h"

namespace gradwatch::core {
namespace {

absl::string_view TargetName(DataShape::Target target) {
  switch (target) {
    case DataShape::Target::kClasses:
      return "classes";
    case DataShape::Target::kValues:
      return "values";
    case DataShape::Target::kProbabilities:
      return "probabilities (values from 0 to 1)";
  }
  return "";
}

absl::Status CheckTarget(v1::LossFunction function, DataShape::Target needed, DataShape::Target target) {
  const bool are_values = needed == DataShape::Target::kValues && target == DataShape::Target::kProbabilities;
  if (needed == target || are_values) return absl::OkStatus();
  const std::string word = absl::AsciiStrToLower(absl::StripPrefix(v1::LossFunction_Name(function), "LOSS_FUNCTION_"));
  absl::string_view table;
  if (needed == DataShape::Target::kClasses) table = "; those of a table are if data.csv.classes is set";
  if (target == DataShape::Target::kClasses) table = "; those of a table are unless data.csv.classes is set";
  return WithReason(
      InvalidField("function", absl::StrCat(word, " needs ", TargetName(needed), " as targets, but the data gives ",
                                            TargetName(target), table)),
      kDoesNotFitTargets);
}

absl::Status Refuse(v1::LossFunction function) {
  if (function == v1::LOSS_FUNCTION_UNSPECIFIED) return InvalidField("function", "is required");
  return InvalidField("function", absl::StrCat("is not a loss; got ", static_cast<int>(function)));
}

template <typename T, typename Function, typename... Arguments>
absl::StatusOr<std::unique_ptr<LossFunction<T>>> Make(const v1::Loss& spec, DataShape::Target target,
                                                      Arguments... arguments) {
  GW_RETURN_IF_ERROR(CheckTarget(spec.function(), Function::kTarget, target));
  return std::make_unique<Function>(arguments...);
}

absl::Status CheckDelta(const v1::Loss& spec) {
  if (!spec.has_delta()) return absl::OkStatus();
  if (spec.function() != v1::LOSS_FUNCTION_HUBER) {
    return InvalidField("delta", absl::StrCat("is only for HUBER; got ", spec.delta()));
  }
  FieldErrors errors;
  CheckPositive("delta", spec.delta(), &errors);
  return errors.ToStatus();
}

}  // namespace

DataShape::Target TargetOf(v1::LossFunction function) {
  switch (function) {
    case v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY:
      return SoftmaxCrossEntropy<float>::kTarget;
    case v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY:
      return BinaryCrossEntropy<float>::kTarget;
    default:
      return DataShape::Target::kValues;
  }
}

template <typename T>
absl::StatusOr<std::unique_ptr<LossFunction<T>>> MakeLossFunction(const v1::Loss& spec, DataShape::Target target) {
  GW_RETURN_IF_ERROR(CheckDelta(spec));
  switch (spec.function()) {
    case v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY:
      return Make<T, SoftmaxCrossEntropy<T>>(spec, target);
    case v1::LOSS_FUNCTION_SQUARED_ERROR:
      return Make<T, SquaredError<T>>(spec, target);
    case v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY:
      return Make<T, BinaryCrossEntropy<T>>(spec, target);
    case v1::LOSS_FUNCTION_HUBER:
      return Make<T, Huber<T>>(spec, target, spec.has_delta() ? spec.delta() : 1);
    default:
      return Refuse(spec.function());
  }
}

#define GW_INSTANTIATE(T) \
  template absl::StatusOr<std::unique_ptr<LossFunction<T>>> MakeLossFunction(const v1::Loss&, DataShape::Target);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
