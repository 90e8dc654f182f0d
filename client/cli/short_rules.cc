#include "client/cli/short_rules.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "client/cli/rules_help.h"
#include "client/cli/rules_text.h"

namespace gradwatch::cli {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

std::string ValueText(const Message& message, const FieldDescriptor& field) {
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, &field, /*index=*/-1, &text);
  return text;
}

// Clears what `base` says too. Both have the same condition, if any.
void ClearSame(const Message& base, Message* message) {
  const auto& reflection = *message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(*message, &fields);
  for (const FieldDescriptor* const field : fields) {
    if (!base.GetReflection()->HasField(base, field)) continue;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Message* const part = reflection.MutableMessage(message, field);
      ClearSame(base.GetReflection()->GetMessage(base, field), part);
      if (part->ByteSizeLong() == 0) reflection.ClearField(message, field);
    } else if (ValueText(*message, *field) == ValueText(base, *field)) {
      reflection.ClearField(message, field);
    }
  }
}

// What is to be said of the preset's rule `base`, so that it becomes `rule`: its name and what is not so there. None:
// the preset says something that the rule leaves unset.
std::optional<v1::Rule> Difference(const v1::Rule& base, const v1::Rule& rule) {
  if (rule.condition_case() != base.condition_case()) return rule;
  v1::Rule merged = base;
  merged.MergeFrom(rule);
  if (merged.SerializeAsString() != rule.SerializeAsString()) return std::nullopt;
  v1::Rule difference = rule;
  ClearSame(base, &difference);
  difference.set_name(rule.name());
  // Their defaults follow these.
  if (difference.has_for_steps()) difference.set_within_steps(rule.within_steps());
  if (difference.series().has_window()) difference.mutable_series()->set_warm_up(rule.series().warm_up());
  return difference;
}

v1::Rule Nothing(const std::string& name) {
  v1::Rule rule;
  rule.set_name(name);
  return rule;
}

bool HasRule(const v1::RuleSet& rules, const std::string& name) {
  return std::any_of(rules.rules().begin(), rules.rules().end(),
                     [&](const v1::Rule& rule) { return rule.name() == name; });
}

}  // namespace

std::optional<v1::RuleSet> RulesByPreset(const v1::RuleSet& rules, const std::string& preset,
                                         const v1::RuleSet& preset_rules) {
  v1::RuleSet by_preset;
  by_preset.set_preset(preset);
  int next = 0;
  for (const v1::Rule& base : preset_rules.rules()) {
    if (next == rules.rules_size() || rules.rules(next).name() != base.name()) {
      v1::Rule* const off = by_preset.add_rules();
      off->set_name(base.name());
      off->set_off(true);
      continue;
    }
    std::optional<v1::Rule> difference = Difference(WrittenRule(base), WrittenRule(rules.rules(next++)));
    if (!difference.has_value()) return std::nullopt;
    const bool differs = difference->SerializeAsString() != Nothing(base.name()).SerializeAsString();
    if (differs) *by_preset.add_rules() = *std::move(difference);
  }
  for (; next < rules.rules_size(); ++next) {
    if (HasRule(preset_rules, rules.rules(next).name())) return std::nullopt;
    *by_preset.add_rules() = WrittenRule(rules.rules(next));
  }
  return by_preset;
}

v1::RuleSet ShortRules(const v1::RuleSet& rules, const Session& session) {
  v1::RuleSet written = rules;
  for (v1::Rule& rule : *written.mutable_rules()) rule = WrittenRule(rule);
  v1::RuleSet shortest = written;
  for (const PresetLine& preset : KnownPresets()) {
    if (shortest.rules().empty()) break;  // mostly after the first, which is the default
    const absl::StatusOr<v1::RuleSet> preset_rules = ReadPreset(preset.name, session);
    if (absl::IsInvalidArgument(preset_rules.status())) continue;  // an older server has fewer
    if (!preset_rules.ok()) return written;
    std::optional<v1::RuleSet> by_preset = RulesByPreset(rules, preset.name, *preset_rules);
    if (by_preset.has_value() && by_preset->rules_size() < shortest.rules_size()) shortest = *std::move(by_preset);
  }
  return shortest;
}

}  // namespace gradwatch::cli
