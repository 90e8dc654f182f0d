// What a schedule's spec may be, and its defaults.
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/optim/method_fields.h"
#include "core/optim/schedule.h"

namespace gradwatch::core {
namespace {

using Spec = v1::ScheduleSpec;

constexpr MethodSet kStep = Methods({Spec::METHOD_STEP});
constexpr MethodSet kExponential = Methods({Spec::METHOD_EXPONENTIAL});
constexpr MethodSet kCosine = Methods({Spec::METHOD_COSINE});
constexpr MethodSet kOneCycle = Methods({Spec::METHOD_ONE_CYCLE});
constexpr MethodSet kPlateau = Methods({Spec::METHOD_PLATEAU});
constexpr MethodSet kWithWarmup =
    kStep | kExponential | kCosine | kPlateau | Methods({Spec::METHOD_CONSTANT, Spec::METHOD_INVERSE_SQRT});

constexpr double kMaxSteps = 1e12;
constexpr ValueRange kFromZero = {.low = 0, .high = kMaxSteps};
constexpr ValueRange kFromOne = {.low = 1, .high = kMaxSteps};
constexpr ValueRange kFactor = {.low = 0, .high = 1, .without_low = true};
constexpr ValueRange kPart = {.low = 0, .high = 1};
constexpr ValueRange kBelowOne = {.low = 0, .high = 1, .without_high = true};
constexpr ValueRange kMomentum = {.low = 0, .high = 1, .without_low = true, .without_high = true};
constexpr ValueRange kDivisor = {.low = 1};

// The defaults are PyTorch's.
constexpr MethodField kFields[] = {
    {"warmup_steps", kWithWarmup, kFromZero, 0},
    {"period", kStep, kFromOne, std::nullopt, Need::kRequired},
    {"period", kPlateau, kFromOne, 10},
    {"gamma", kStep | kPlateau, kFactor, 0.1},
    {"gamma", kExponential, kFactor, std::nullopt, Need::kRequired},
    {"final_rate", kCosine | kPlateau, {.low = 0}, 0},
    {"horizon", kCosine | kOneCycle, kFromOne, std::nullopt},
    {"rise_fraction", kOneCycle, kPart, 0.3},
    {"start_divisor", kOneCycle, kDivisor, 25},
    {"end_divisor", kOneCycle, kDivisor, 1e4},
    {"cycle_momentum", kOneCycle, {}, std::nullopt},
    {"min_momentum", kOneCycle, kMomentum, 0.85},
    {"max_momentum", kOneCycle, kMomentum, 0.95},
    {"threshold", kPlateau, kBelowOne, 1e-4},
    {"cooldown", kPlateau, kFromZero, 0},
    {"average_steps", kPlateau, kFromOne, 1},
};

bool HasMomentum(const v1::OptimizerSpec& optimizer) {
  return optimizer.momentum() > 0 || optimizer.method() == v1::OPTIMIZER_METHOD_ADAM ||
         optimizer.method() == v1::OPTIMIZER_METHOD_ADAMW;
}

Spec WithMethod(Spec spec) {
  if (spec.method() == Spec::METHOD_UNSPECIFIED) spec.set_method(Spec::METHOD_CONSTANT);
  return spec;
}

// What the fields must be to each other and to the optimizer's.
void CheckTogether(const Spec& spec, const v1::OptimizerSpec& optimizer, FieldErrors* errors) {
  if (spec.final_rate() > 0 && spec.final_rate() > optimizer.learning_rate()) {
    errors->Add("final_rate", absl::StrCat("must be at most the learning rate ", optimizer.learning_rate(), "; got ",
                                           spec.final_rate()));
  }
  if (spec.cycle_momentum() && !HasMomentum(optimizer)) {
    errors->Add("cycle_momentum", "needs an optimizer with a momentum above 0");
  }
  if (spec.min_momentum() > spec.max_momentum()) {
    errors->Add("min_momentum",
                absl::StrCat("must be at most max_momentum ", spec.max_momentum(), "; got ", spec.min_momentum()));
  }
}

}  // namespace

absl::Status ValidateSchedule(const v1::OptimizerSpec& optimizer) {
  const Spec spec = WithMethod(optimizer.schedule());
  FieldErrors errors;
  if (CheckMethodIsKnown(spec, &errors)) {
    CheckMethodFields(spec, kFields, &errors);
    CheckTogether(ResolveSchedule(optimizer), optimizer, &errors);
  }
  return errors.ToStatus();
}

v1::ScheduleSpec ResolveSchedule(const v1::OptimizerSpec& optimizer) {
  Spec resolved = WithMethod(optimizer.schedule());
  SetMethodDefaults(kFields, &resolved);
  if (resolved.method() == Spec::METHOD_ONE_CYCLE && !resolved.has_cycle_momentum()) {
    resolved.set_cycle_momentum(HasMomentum(optimizer));
  }
  return resolved;
}

}  // namespace gradwatch::core
