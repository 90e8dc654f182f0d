#include "core/detect/presets.h"

#include <cmath>

namespace gradwatch::core {
namespace {

constexpr char kWeights[] = "*weight*";

v1::Rule* AddRule(const char* name, v1::Severity severity, v1::RuleSet* rules) {
  v1::Rule* rule = rules->add_rules();
  rule->set_name(name);
  rule->set_severity(severity);
  return rule;
}

void AddSpike(const char* name, v1::Severity severity, double max_deviations, double factor, v1::RuleSet* rules) {
  v1::NormSpikeCondition* spike = AddRule(name, severity, rules)->mutable_norm_spike();
  spike->set_max_deviations(max_deviations);
  // With the smallest deviation, max_deviations of them are just `factor`.
  spike->set_min_deviation(std::log(factor) / max_deviations);
}

void AddUpdateRatio(const char* name, v1::Severity severity, double max_ratio, int for_steps, v1::RuleSet* rules) {
  v1::Rule* rule = AddRule(name, severity, rules);
  rule->set_tensors(kWeights);
  rule->set_for_steps(for_steps);
  rule->mutable_update_ratio()->set_max_ratio(max_ratio);
}

}  // namespace

bool IsPreset(absl::string_view name) { return name == kDefaultPreset; }

v1::RuleSet GradwatchPreset() {
  v1::RuleSet rules;
  rules.set_preset(std::string(kDefaultPreset));
  AddRule("non_finite", v1::SEVERITY_CRITICAL, &rules)->mutable_non_finite();
  AddSpike("grad_norm_exploding", v1::SEVERITY_CRITICAL, 10, 100, &rules);
  AddSpike("grad_norm_spike", v1::SEVERITY_WARNING, 8, 5, &rules);
  v1::Rule* loss_jump = AddRule("loss_jump", v1::SEVERITY_WARNING, &rules);
  loss_jump->set_for_steps(5);
  loss_jump->mutable_loss_jump()->set_factor(2);
  AddUpdateRatio("update_overshoot", v1::SEVERITY_CRITICAL, 1, 1, &rules);
  AddUpdateRatio("update_ratio", v1::SEVERITY_WARNING, 0.1, 3, &rules);
  return rules;
}

}  // namespace gradwatch::core
