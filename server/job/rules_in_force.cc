#include "server/job/rules_in_force.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "core/spec/controls.h"
#include "server/job/job.h"

namespace gradwatch::server {
namespace {

std::set<std::string> Serialised(const v1::RuleSet& rules) {
  std::set<std::string> all;
  for (const v1::Rule& rule : rules.rules()) all.insert(rule.SerializeAsString());
  return all;
}

// None: no trainer has told them yet.
std::vector<std::string> TensorNamesOf(const v1::Job& job) {
  std::vector<std::string> names;
  for (const v1::TensorInfo& tensor : job.tensors()) names.push_back(tensor.name());
  return names;
}

bool HasAttention(const google::protobuf::RepeatedPtrField<v1::Layer>& layers) {
  return std::any_of(layers.begin(), layers.end(), [](const v1::Layer& layer) {
    return layer.has_self_attention() || HasAttention(layer.residual().layers());
  });
}

// Of a network that has no such layer the rule would be silent for ever.
void DescribeAttention(const v1::ModelSpec& model, v1::Rule* rule) {
  if (!rule->has_attention() || HasAttention(model.layers())) return;
  rule->clear_armed_at();
  rule->set_unable("the network has no attention");
}

// `job`: that of the record, unpacked.
v1::RuleSet Describe(v1::RuleSet rules, int64_t step_of_new, const v1::Job& job, const JobRecord& record) {
  if (record.ended() || job.spec().has_external()) return rules;
  const std::set<std::string> in_force = Serialised(core::EffectiveRules(job.spec(), job.controls()));
  for (v1::Rule& rule : *rules.mutable_rules()) {
    const bool goes_on = in_force.count(rule.SerializeAsString()) > 0;
    const int64_t since = record.rule_ages == nullptr ? 0 : record.rule_ages->Since(rule, job.attempt());
    core::DescribeArming(job.controls(), goes_on ? since : step_of_new, &rule);
    DescribeAttention(job.spec().model(), &rule);
  }
  if (!job.tensors().empty()) core::DescribeMatches(TensorNamesOf(job), &rules);
  return rules;
}

}  // namespace

void RuleAges::Fold(const v1::Adjustment& adjusted, int32_t attempt) {
  if (attempt != attempt_) {
    before_.clear();
    for (const v1::Rule& rule : adjusted.old_controls().rules().rules()) before_[rule.SerializeAsString()] = 0;
  } else if (adjusted.effective_step() != step_) {
    before_ = std::move(now_);
  }
  attempt_ = attempt;
  step_ = adjusted.effective_step();
  now_.clear();
  for (const v1::Rule& rule : adjusted.new_controls().rules().rules()) {
    std::string key = rule.SerializeAsString();
    const auto known = before_.find(key);
    const int64_t since = known == before_.end() ? step_ : known->second;
    now_.emplace(std::move(key), since);
  }
}

int64_t RuleAges::Since(const v1::Rule& rule, int32_t attempt) const {
  if (attempt != attempt_) return 0;
  const auto known = now_.find(rule.SerializeAsString());
  return known == now_.end() ? step_ : known->second;
}

void CompleteStoredRules(v1::RuleSet* rules) {
  if (rules->preset() == core::kNoPreset) return;
  rules->set_preset(std::string(core::kNoPreset));
  *rules = core::ResolveRules(*rules);
}

v1::RuleSet RulesInForce(const JobRecord& record) {
  v1::Job large;
  if (!record.packed.empty()) large.ParseFromString(record.packed);
  const v1::Job& job = record.packed.empty() ? record.row.job : large;
  return Describe(core::EffectiveRules(job.spec(), job.controls()), /*step_of_new=*/0, job, record);
}

v1::RuleSet RulesFrom(int64_t step, v1::RuleSet rules, const JobRecord& record) {
  return Describe(std::move(rules), step, record.row.job, record);
}

}  // namespace gradwatch::server
