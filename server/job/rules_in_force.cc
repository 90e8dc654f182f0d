#include "server/job/rules_in_force.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/detect/presets.h"
#include "core/spec/controls.h"
#include "server/job/job.h"

namespace gradwatch::server {
namespace {

// By what they measure.
std::set<std::string> Measures(const v1::RuleSet& rules) {
  std::set<std::string> all;
  for (const v1::Rule& rule : rules.rules()) all.insert(core::MeasureOf(rule));
  return all;
}

// What a rule measures, and on how many steps that must hold.
std::string CountedOf(const v1::Rule& rule) {
  return absl::StrCat(core::MeasureOf(rule), " ", rule.for_steps(), " ", rule.within_steps());
}

std::set<std::string> Counted(const v1::RuleSet& rules) {
  std::set<std::string> all;
  for (const v1::Rule& rule : rules.rules()) all.insert(CountedOf(rule));
  return all;
}

// What is measured that some rules need, by names of this file.
constexpr char kNorms[] = "norms", kUpdates[] = "updates", kLayers[] = "layers";

std::set<std::string> MeasuredBy(const v1::Controls& controls) {
  std::set<std::string> all;
  const v1::StatisticsLevel level = controls.statistics();
  const bool is_full = level == v1::STATISTICS_LEVEL_FULL || level == v1::STATISTICS_LEVEL_UNSPECIFIED;
  if (is_full || level == v1::STATISTICS_LEVEL_NORM) all.insert(kNorms);
  if (is_full) all.insert(kUpdates);
  if (controls.layer_statistics()) all.insert(kLayers);
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

// `job`: that of the record, unpacked. `ages`: of its rules; null: they are those of the start.
v1::RuleSet Describe(v1::RuleSet rules, int64_t step_of_new, const v1::Job& job, const RuleAges* ages) {
  if (job.spec().has_external()) return rules;
  const v1::RuleSet& in_force = core::EffectiveRules(job.spec(), job.controls());
  const std::set<std::string> measured = Measures(in_force), counted = Counted(in_force);
  for (v1::Rule& rule : *rules.mutable_rules()) {
    core::RuleSince since;
    if (ages != nullptr) since = ages->Since(rule, job.attempt());
    if (measured.count(core::MeasureOf(rule)) == 0) since.judged = step_of_new;
    if (counted.count(CountedOf(rule)) == 0) since.counted = step_of_new;
    core::DescribeArming(job.controls(), since, &rule);
    DescribeAttention(job.spec().model(), &rule);
  }
  if (!job.tensors().empty()) core::DescribeMatches(TensorNamesOf(job), &rules);
  return rules;
}

}  // namespace

void Ages::Fold(int32_t attempt, int64_t step, const std::set<std::string>& before,
                const std::set<std::string>& after) {
  if (attempt != attempt_) {
    before_.clear();
    for (const std::string& name : before) before_[name] = 0;
  } else if (step != step_) {
    before_ = std::move(now_);
  }
  attempt_ = attempt;
  step_ = step;
  now_.clear();
  for (const std::string& name : after) {
    const auto known = before_.find(name);
    now_[name] = known == before_.end() ? step : known->second;
  }
}

int64_t Ages::Since(const std::string& name, int32_t attempt) const {
  if (attempt != attempt_) return 0;
  const auto known = now_.find(name);
  return known == now_.end() ? step_ : known->second;
}

bool RuleAges::Concerns(const v1::Adjustment& adjusted) {
  return ChangesRules(adjusted) || MeasuredBy(adjusted.old_controls()) != MeasuredBy(adjusted.new_controls());
}

void RuleAges::Fold(const v1::Adjustment& adjusted, int32_t attempt) {
  const int64_t step = adjusted.effective_step();
  const v1::Controls &before = adjusted.old_controls(), &after = adjusted.new_controls();
  if (ChangesRules(adjusted)) {
    judged_.Fold(attempt, step, Measures(before.rules()), Measures(after.rules()));
    counted_.Fold(attempt, step, Counted(before.rules()), Counted(after.rules()));
  }
  if (MeasuredBy(before) != MeasuredBy(after)) measured_.Fold(attempt, step, MeasuredBy(before), MeasuredBy(after));
}

core::RuleSince RuleAges::Since(const v1::Rule& rule, int32_t attempt) const {
  return {.judged = judged_.Since(core::MeasureOf(rule), attempt),
          .counted = counted_.Since(CountedOf(rule), attempt),
          .norms = measured_.Since(kNorms, attempt),
          .updates = measured_.Since(kUpdates, attempt),
          .layers = measured_.Since(kLayers, attempt)};
}

void CompleteStoredRules(v1::RuleSet* rules) {
  if (rules->preset() == core::kNoPreset) return;
  rules->set_preset(std::string(core::kNoPreset));
  *rules = core::ResolveRules(*rules);
}

v1::RuleSet RulesInForce(const JobRecord& record, const RuleAges& ages_of_ended) {
  v1::Job large;
  if (!record.packed.empty()) {
    large = record.row.job;
    large.MergeFromString(record.packed);
  }
  const v1::Job& job = record.packed.empty() ? record.row.job : large;
  const RuleAges* const ages = record.ended() ? &ages_of_ended : record.rule_ages.get();
  return Describe(core::EffectiveRules(job.spec(), job.controls()), /*step_of_new=*/0, job, ages);
}

v1::RuleSet RulesFrom(int64_t step, v1::RuleSet rules, const JobRecord& record) {
  return Describe(std::move(rules), step, record.row.job, record.rule_ages.get());
}

}  // namespace gradwatch::server
