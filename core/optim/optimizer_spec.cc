// What an optimizer's spec may be, and its defaults.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/optim/method_fields.h"
#include "core/optim/optimizer.h"
#include "core/optim/schedule.h"

namespace gradwatch::core {
namespace {

constexpr MethodSet kSgd = Methods({v1::OPTIMIZER_METHOD_SGD});
constexpr MethodSet kRmsprop = Methods({v1::OPTIMIZER_METHOD_RMSPROP});
constexpr MethodSet kAdagrad = Methods({v1::OPTIMIZER_METHOD_ADAGRAD});
constexpr MethodSet kAdam = Methods({v1::OPTIMIZER_METHOD_ADAM});
constexpr MethodSet kAdamw = Methods({v1::OPTIMIZER_METHOD_ADAMW});
constexpr MethodSet kAll = kSgd | kRmsprop | kAdagrad | kAdam | kAdamw;

constexpr ValueRange kNotNegative = {.low = 0};
constexpr ValueRange kDecay = {.low = 0, .high = 1, .without_high = true};
constexpr ValueRange kPart = {.low = 0, .high = 1};
// The lowest is a normal number in float.
constexpr ValueRange kEpsilon = {.low = 1e-30};
constexpr ValueRange kAnyBool = {};

// The defaults are PyTorch's.
constexpr MethodField kFields[] = {
    {"momentum", kSgd | kRmsprop, kDecay, 0},
    {"dampening", kSgd, kPart, 0},
    {"nesterov", kSgd, kAnyBool, false},
    {"weight_decay", kAll & ~kAdamw, kNotNegative, 0},
    {"weight_decay", kAdamw, kNotNegative, 0.01},
    {"decoupled_decay", kAll & ~kAdamw, kAnyBool, false},
    {"decoupled_decay", kAdamw, kAnyBool, true},
    {"beta1", kAdam | kAdamw, kDecay, 0.9},
    {"beta2", kAdam | kAdamw, kDecay, 0.999},
    {"beta2", kRmsprop, kDecay, 0.99},
    {"epsilon", kRmsprop | kAdam | kAdamw, kEpsilon, 1e-8},
    {"epsilon", kAdagrad, kEpsilon, 1e-10},
    {"centered", kRmsprop, kAnyBool, false},
    {"amsgrad", kAdam | kAdamw, kAnyBool, false},
    {"learning_rate_decay", kAdagrad, kNotNegative, 0},
    {"initial_accumulator", kAdagrad, kNotNegative, 0},
};

v1::OptimizerSpec WithMethod(v1::OptimizerSpec spec) {
  if (spec.method() == v1::OPTIMIZER_METHOD_UNSPECIFIED) spec.set_method(v1::OPTIMIZER_METHOD_SGD);
  return spec;
}

// What the fields must be to each other.
void CheckTogether(const v1::OptimizerSpec& spec, FieldErrors* errors) {
  if (spec.nesterov() && !(spec.momentum() > 0)) errors->Add("nesterov", "needs a momentum above 0");
  if (spec.dampening() > 0 && !(spec.momentum() > 0)) errors->Add("dampening", "needs a momentum above 0");
  if (spec.nesterov() && spec.dampening() > 0) {
    errors->Add("dampening", absl::StrCat("must be 0 with nesterov; got ", spec.dampening()));
  }
  if (spec.method() == v1::OPTIMIZER_METHOD_ADAMW && spec.has_decoupled_decay() && !spec.decoupled_decay()) {
    errors->Add("decoupled_decay", "is always true with ADAMW; L2 decay is that of ADAM");
  }
}

}  // namespace

absl::Status ValidateOptimizer(const v1::OptimizerSpec& given) {
  const v1::OptimizerSpec spec = WithMethod(given);
  FieldErrors errors;
  if (!(std::isfinite(spec.learning_rate()) && spec.learning_rate() > 0)) {
    errors.Add("learning_rate", absl::StrCat("must be finite and above 0; got ", spec.learning_rate()));
  }
  if (CheckMethodIsKnown(spec, &errors)) {
    CheckMethodFields(spec, kFields, &errors);
    CheckTogether(spec, &errors);
    errors.AddStatus("schedule", ValidateSchedule(spec));
  }
  return errors.ToStatus();
}

v1::OptimizerSpec ResolveOptimizer(const v1::OptimizerSpec& spec) {
  v1::OptimizerSpec resolved = WithMethod(spec);
  SetMethodDefaults(kFields, &resolved);
  *resolved.mutable_schedule() = ResolveSchedule(resolved);
  return resolved;
}

int OptimizerStatePerParameter(const v1::OptimizerSpec& spec) {
  const int momentum = spec.momentum() > 0 ? 1 : 0;
  switch (spec.method()) {
    case v1::OPTIMIZER_METHOD_RMSPROP:
      return 1 + momentum + (spec.centered() ? 1 : 0);
    case v1::OPTIMIZER_METHOD_ADAGRAD:
      return 1;
    case v1::OPTIMIZER_METHOD_ADAM:
    case v1::OPTIMIZER_METHOD_ADAMW:
      return 2 + (spec.amsgrad() ? 1 : 0);
    default:
      return momentum;
  }
}

}  // namespace gradwatch::core
