// What rules may be, and their defaults.
#include <cmath>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/detect/alert_budget.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxRules = 64;
constexpr size_t kMaxNameSize = 63;
constexpr size_t kMaxGlobSize = 256;
// The server tells stalls of every job: without a rule about them under this name, which no other rule may have.
constexpr absl::string_view kStallRule = "stall";
// Norms are doubles: one that is e to this power times another cannot be.
constexpr double kLargestLogRatio = 709;

void CheckPositive(absl::string_view field, double value, FieldErrors* errors) {
  if (!std::isfinite(value) || value <= 0) errors->Add(field, absl::StrCat("must be finite and above 0, is ", value));
}

void CheckRange(absl::string_view field, int64_t value, int64_t low, int64_t high, FieldErrors* errors) {
  if (value < low || value > high) {
    errors->Add(field, absl::StrCat("must be in ", low, " to ", high, ", is ", value));
  }
}

void CheckName(const std::string& name, FieldErrors* errors) {
  bool good = !name.empty() && name.size() <= kMaxNameSize;
  for (const char c : name) good = good && (absl::ascii_isalnum(c) || c == '_' || c == '-');
  if (!good) {
    errors->Add("name",
                absl::StrCat("must have 1 to ", kMaxNameSize, " letters, digits, '_' or '-', is \"", name, "\""));
  }
  if (name == kTruncationRule) errors->Add("name", absl::StrCat("\"", name, "\" is a name that gradwatch uses itself"));
}

void CheckSpike(const v1::NormSpikeCondition& spike, FieldErrors* errors) {
  if (spike.has_max_deviations()) CheckPositive("norm_spike.max_deviations", spike.max_deviations(), errors);
  if (spike.has_window()) CheckRange("norm_spike.window", spike.window(), 10, 10'000, errors);
  if (spike.has_min_deviation()) CheckPositive("norm_spike.min_deviation", spike.min_deviation(), errors);
}

// A limit that no norm can be above would be silent for ever. For a resolved condition.
void CheckCanFire(const v1::NormSpikeCondition& spike, FieldErrors* errors) {
  if (spike.max_deviations() * spike.min_deviation() <= kLargestLogRatio) return;
  errors->Add("norm_spike.max_deviations",
              absl::StrCat("can never be exceeded: ", spike.max_deviations(), " times min_deviation ",
                           spike.min_deviation(), " is above ", kLargestLogRatio, ", the logarithm of any ratio"));
}

void CheckLossJump(const v1::LossJumpCondition& jump, FieldErrors* errors) {
  if (jump.has_factor() && (!std::isfinite(jump.factor()) || jump.factor() <= 1)) {
    errors->Add("loss_jump.factor", absl::StrCat("must be finite and above 1, is ", jump.factor()));
  }
  if (jump.has_window()) CheckRange("loss_jump.window", jump.window(), 5, 10'000, errors);
}

// The server judges it, by the time and not by steps.
void CheckStall(const v1::Rule& rule, FieldErrors* errors) {
  if (rule.stall().has_seconds()) {
    const double seconds = rule.stall().seconds();
    if (!(seconds >= 1 && seconds <= 1e6))
      errors->Add("stall.seconds", absl::StrCat("must be in 1 to 1e6, is ", seconds));
  }
  if (rule.has_for_steps()) errors->Add("for_steps", "has no meaning for a rule about steps that do not come");
  if (rule.has_resolve_after_steps()) {
    errors->Add("resolve_after_steps", "has no meaning for a rule about steps that do not come");
  }
}

void CheckCondition(const v1::Rule& rule, FieldErrors* errors) {
  switch (rule.condition_case()) {
    case v1::Rule::kNonFinite:
      return;
    case v1::Rule::kNormLimit:
      return CheckPositive("norm_limit.max_norm", rule.norm_limit().max_norm(), errors);
    case v1::Rule::kNormSpike:
      return CheckSpike(rule.norm_spike(), errors);
    case v1::Rule::kLossJump:
      return CheckLossJump(rule.loss_jump(), errors);
    case v1::Rule::kUpdateRatio:
      if (rule.update_ratio().has_max_ratio()) {
        CheckPositive("update_ratio.max_ratio", rule.update_ratio().max_ratio(), errors);
      }
      return;
    case v1::Rule::kStall:
      return CheckStall(rule, errors);
    case v1::Rule::CONDITION_NOT_SET:
      return errors->Add("condition", "must be set");
    default: {
      const auto* condition = v1::Rule::descriptor()->FindFieldByNumber(rule.condition_case());
      return errors->Add(condition->name(), "this condition is not served yet");
    }
  }
}

// Whether the rule looks at single tensors, so that a glob means something.
bool IsPerTensor(const v1::Rule& rule) {
  return rule.has_non_finite() || rule.has_update_ratio() || rule.norm_limit().per_tensor() ||
         rule.norm_spike().per_tensor();
}

void CheckTensors(const v1::Rule& rule, FieldErrors* errors) {
  if (rule.tensors().empty()) return;
  if (rule.tensors().size() > kMaxGlobSize) {
    errors->Add("tensors",
                absl::StrCat("must have at most ", kMaxGlobSize, " characters, has ", rule.tensors().size()));
  } else if (!IsPerTensor(rule)) {
    errors->Add("tensors", absl::StrCat("has no meaning for a rule about the whole network; set per_tensor if the "
                                        "condition has it, is \"",
                                        rule.tensors(), "\""));
  }
}

void ResolveRule(v1::Rule* rule) {
  if (rule->severity() == v1::SEVERITY_UNSPECIFIED) rule->set_severity(v1::SEVERITY_WARNING);
  if (rule->has_stall()) return;
  if (!rule->has_for_steps()) rule->set_for_steps(1);
  if (!rule->has_resolve_after_steps()) rule->set_resolve_after_steps(20);
  if (rule->has_norm_limit()) {
    rule->mutable_norm_limit()->set_per_tensor(rule->norm_limit().per_tensor());
  } else if (rule->has_norm_spike()) {
    v1::NormSpikeCondition* spike = rule->mutable_norm_spike();
    if (!spike->has_max_deviations()) spike->set_max_deviations(6);
    if (!spike->has_window()) spike->set_window(101);
    if (!spike->has_min_deviation()) spike->set_min_deviation(0.05);
    spike->set_per_tensor(spike->per_tensor());
  } else if (rule->has_loss_jump()) {
    v1::LossJumpCondition* jump = rule->mutable_loss_jump();
    if (!jump->has_factor()) jump->set_factor(3);
    if (!jump->has_window()) jump->set_window(51);
  } else if (rule->has_update_ratio()) {
    if (!rule->update_ratio().has_max_ratio()) rule->mutable_update_ratio()->set_max_ratio(0.1);
  }
}

absl::Status CheckRule(const v1::Rule& rule) {
  FieldErrors errors;
  CheckName(rule.name(), &errors);
  if (!v1::Severity_IsValid(rule.severity())) {
    errors.Add("severity", absl::StrCat("unknown severity ", static_cast<int>(rule.severity())));
  }
  if (rule.has_for_steps() && rule.for_steps() < 1) {
    errors.Add("for_steps", absl::StrCat("must be at least 1, is ", rule.for_steps()));
  }
  if (rule.has_resolve_after_steps() && rule.resolve_after_steps() < 1) {
    errors.Add("resolve_after_steps", absl::StrCat("must be at least 1, is ", rule.resolve_after_steps()));
  }
  CheckCondition(rule, &errors);
  CheckTensors(rule, &errors);
  if (errors.empty() && rule.has_norm_spike()) {
    v1::Rule resolved = rule;
    ResolveRule(&resolved);
    CheckCanFire(resolved.norm_spike(), &errors);
  }
  return errors.ToStatus();
}

}  // namespace

absl::Status ValidateRules(const v1::RuleSet& rules) {
  FieldErrors errors;
  if (!rules.preset().empty() && !IsPreset(rules.preset())) {
    errors.Add("preset", absl::StrCat("\"", rules.preset(), "\" is not served yet; there is \"", kDefaultPreset, "\""));
  }
  if (rules.rules_size() > kMaxRules) {
    errors.Add("rules", absl::StrCat("at most ", kMaxRules, ", are ", rules.rules_size()));
    return errors.ToStatus();
  }
  std::set<std::string> names;
  int stalls = 0;
  for (int i = 0; i < rules.rules_size(); ++i) {
    const std::string path = absl::StrCat("rules[", i, "]");
    errors.AddStatus(path, CheckRule(rules.rules(i)));
    if (!names.insert(rules.rules(i).name()).second) {
      errors.Add(path + ".name", absl::StrCat("is there twice: \"", rules.rules(i).name(), "\""));
    }
    const bool stall = rules.rules(i).has_stall();
    if (stall && ++stalls > 1) errors.Add(path + ".stall", "is there twice: a set has one rule about stalls at most");
    if (!stall && rules.rules(i).name() == kStallRule) {
      errors.Add(path + ".name", absl::StrCat("\"", kStallRule, "\" is the name of the server's alert about stalls"));
    }
  }
  return errors.ToStatus();
}

v1::RuleSet ResolveRules(const v1::RuleSet& rules) {
  v1::RuleSet resolved = rules.rules().empty() ? GradwatchPreset() : rules;
  for (v1::Rule& rule : *resolved.mutable_rules()) ResolveRule(&rule);
  return resolved;
}

}  // namespace gradwatch::core
