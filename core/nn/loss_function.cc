#include "core/nn/loss_function.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
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

absl::Status CheckTarget(v1::LossFunction function, DataShape::Target needed, DataShape::Target target) {
  if (needed == target) return absl::OkStatus();
  const auto name = [](DataShape::Target t) { return t == DataShape::Target::kClasses ? "classes" : "values"; };
  const std::string word = absl::AsciiStrToLower(absl::StripPrefix(v1::LossFunction_Name(function), "LOSS_FUNCTION_"));
  const char* const table = needed == DataShape::Target::kClasses
                                ? "; those of a table are if data.csv.classes is set"
                                : "; those of a table are unless data.csv.classes is set";
  return WithReason(InvalidField("function", absl::StrCat(word, " needs ", name(needed),
                                                          " as targets, but the data gives ", name(target), table)),
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
