// What an optimizer's spec may be, and its defaults.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/optim/optimizer.h"

namespace gradwatch::core {
namespace {

bool IsSgd(const v1::OptimizerSpec& spec) {
  return spec.method() == v1::OPTIMIZER_METHOD_UNSPECIFIED || spec.method() == v1::OPTIMIZER_METHOD_SGD;
}

bool IsConstant(const v1::ScheduleSpec& schedule) {
  return schedule.method() == v1::ScheduleSpec::METHOD_UNSPECIFIED ||
         schedule.method() == v1::ScheduleSpec::METHOD_CONSTANT;
}

void CheckMethod(const v1::OptimizerSpec& spec, FieldErrors* errors) {
  if (IsSgd(spec)) return;
  errors->Add("method", v1::OptimizerMethod_IsValid(spec.method())
                            ? absl::StrCat(v1::OptimizerMethod_Name(spec.method()), " is not served yet")
                            : absl::StrCat("unknown method ", static_cast<int>(spec.method())));
}

void CheckSchedule(const v1::ScheduleSpec& schedule, FieldErrors* errors) {
  if (!IsConstant(schedule)) {
    const auto method = schedule.method();
    errors->Add("schedule.method", v1::ScheduleSpec::Method_IsValid(method)
                                       ? absl::StrCat(v1::ScheduleSpec::Method_Name(method), " is not served yet")
                                       : absl::StrCat("unknown method ", static_cast<int>(method)));
  }
  if (schedule.warmup_steps() != 0) {
    errors->Add("schedule.warmup_steps", absl::StrCat("a warm-up is not served yet, is ", schedule.warmup_steps()));
  }
}

// SGD has no moments. A field that would be read by no method that is served must at least be a number.
void CheckUnused(absl::string_view field, bool present, double value, FieldErrors* errors) {
  if (present && !std::isfinite(value)) errors->Add(field, absl::StrCat("must be finite, is ", value));
}

void CheckNumbers(const v1::OptimizerSpec& spec, FieldErrors* errors) {
  if (!std::isfinite(spec.learning_rate()) || spec.learning_rate() <= 0) {
    errors->Add("learning_rate", absl::StrCat("must be finite and above 0, is ", spec.learning_rate()));
  }
  if (!(spec.momentum() >= 0 && spec.momentum() < 1)) {
    errors->Add("momentum", absl::StrCat("must be in [0, 1), is ", spec.momentum()));
  }
  if (spec.nesterov() && spec.momentum() == 0) errors->Add("nesterov", "needs a momentum above 0");
  if (!std::isfinite(spec.weight_decay()) || spec.weight_decay() < 0) {
    errors->Add("weight_decay", absl::StrCat("must be finite and at least 0, is ", spec.weight_decay()));
  }
  CheckUnused("beta1", spec.has_beta1(), spec.beta1(), errors);
  CheckUnused("beta2", spec.has_beta2(), spec.beta2(), errors);
  CheckUnused("epsilon", spec.has_epsilon(), spec.epsilon(), errors);
}

}  // namespace

absl::Status ValidateOptimizer(const v1::OptimizerSpec& spec) {
  FieldErrors errors;
  CheckMethod(spec, &errors);
  CheckNumbers(spec, &errors);
  CheckSchedule(spec.schedule(), &errors);
  return errors.ToStatus();
}

v1::OptimizerSpec ResolveOptimizer(const v1::OptimizerSpec& spec) {
  v1::OptimizerSpec resolved = spec;
  if (IsSgd(spec)) {
    resolved.set_method(v1::OPTIMIZER_METHOD_SGD);
    resolved.set_momentum(spec.momentum());
    resolved.set_nesterov(spec.nesterov());
  }
  resolved.set_weight_decay(spec.weight_decay());
  v1::ScheduleSpec* schedule = resolved.mutable_schedule();
  if (IsConstant(*schedule)) schedule->set_method(v1::ScheduleSpec::METHOD_CONSTANT);
  schedule->set_warmup_steps(schedule->warmup_steps());
  return resolved;
}

int OptimizerStatePerParameter(const v1::OptimizerSpec& spec) { return spec.momentum() > 0 ? 1 : 0; }

}  // namespace gradwatch::core
