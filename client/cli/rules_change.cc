#include "client/cli/rules_change.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/condition_words.h"
#include "client/cli/rules_text.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

FieldValue Of(std::string text) { return {text, text}; }
FieldValue OfWord(const std::string& word) { return {word, client::JsonString(word)}; }

FieldValue ValueOf(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (!reflection.HasField(message, &field)) return {};
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const double value = reflection.GetDouble(message, &field);
      return {ExactText(value), JsonNumber(value)};
    }
    case FieldDescriptor::CPPTYPE_INT32:
      return Of(absl::StrCat(reflection.GetInt32(message, &field)));
    case FieldDescriptor::CPPTYPE_BOOL:
      return Of(reflection.GetBool(message, &field) ? "true" : "false");
    case FieldDescriptor::CPPTYPE_ENUM:
      return OfWord(client::EnumWord(*reflection.GetEnum(message, &field)));
    case FieldDescriptor::CPPTYPE_STRING:
      return OfWord(reflection.GetString(message, &field));
    default:
      return OfWord("?");  // of a newer server
  }
}

// Of the fields that are values themselves. Both are of one type.
void AddDifferences(const std::string& prefix, const Message& before, const Message& after,
                    std::vector<FieldChange>* fields) {
  const auto& type = *before.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated() || field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) continue;
    FieldValue old_value = ValueOf(before, field), new_value = ValueOf(after, field);
    if (old_value.json == new_value.json) continue;
    fields->push_back({absl::StrCat(prefix, field.name()), std::move(old_value), std::move(new_value)});
  }
}

// Null: none that is known here.
const FieldDescriptor* ConditionField(const v1::Rule& rule) {
  return v1::Rule::descriptor()->FindFieldByNumber(rule.condition_case());
}

FieldValue ConditionValue(const v1::Rule& rule) {
  const FieldDescriptor* const field = ConditionField(rule);
  if (field == nullptr) return {};
  return {ConditionWords(rule), client::JsonString(field->name())};
}

std::vector<FieldChange> FieldChanges(const v1::Rule& before, const v1::Rule& after) {
  std::vector<FieldChange> fields;
  AddDifferences("", before, after, &fields);
  const FieldDescriptor* const condition = ConditionField(before);
  if (before.condition_case() != after.condition_case()) {
    fields.push_back({"condition", ConditionValue(before), ConditionValue(after)});
  } else if (condition != nullptr) {
    const auto& reflection = *before.GetReflection();
    AddDifferences(absl::StrCat(condition->name(), "."), reflection.GetMessage(before, condition),
                   reflection.GetMessage(after, condition), &fields);
  }
  return fields;
}

// The rules that there are, by name.
std::map<std::string, v1::Rule> ByName(const v1::RuleSet& rules) {
  std::map<std::string, v1::Rule> by_name;
  for (const v1::Rule& rule : rules.rules()) {
    if (!rule.off()) by_name[rule.name()] = WrittenRule(rule);
  }
  return by_name;
}

// "loss_jump (severity warning -> critical, loss_jump.factor 5 -> 4)".
std::string ChangedText(const RuleChange& change) {
  const std::string fields = absl::StrJoin(change.fields, ", ", [](std::string* text, const FieldChange& field) {
    absl::StrAppend(text, field.field, " ", field.before.text, " -> ", field.after.text);
  });
  return fields.empty() ? change.rule : absl::StrCat(change.rule, " (", fields, ")");
}

void AddNames(const char* what, const std::vector<std::string>& names, std::vector<std::string>* parts) {
  if (!names.empty()) parts->push_back(absl::StrCat(what, " ", client::Printable(absl::StrJoin(names, ", "))));
}

std::string NamesJson(const std::vector<std::string>& names) {
  std::vector<std::string> all;
  for (const std::string& name : names) all.push_back(client::JsonString(name));
  return JsonArray(all);
}

std::string FieldsJson(const std::vector<FieldChange>& fields) {
  std::vector<std::string> all;
  for (const FieldChange& change : fields) {
    JsonObject object;
    object.Add("field", change.field).AddRaw("old", change.before.json).AddRaw("new", change.after.json);
    all.push_back(object.Build());
  }
  return JsonArray(all);
}

}  // namespace

RulesChange ChangeOf(const v1::RuleSet& before, const v1::RuleSet& after) {
  const auto old_rules = ByName(before), new_rules = ByName(after);
  RulesChange change;
  for (const auto& [name, rule] : new_rules) {
    const auto old_rule = old_rules.find(name);
    if (old_rule == old_rules.end()) {
      change.added.push_back(name);
    } else if (old_rule->second.SerializeAsString() != rule.SerializeAsString()) {
      change.changed.push_back({name, FieldChanges(old_rule->second, rule)});
    }
  }
  for (const auto& [name, rule] : old_rules) {
    if (new_rules.count(name) == 0) change.removed.push_back(name);
  }
  return change;
}

std::string RulesChangeText(const RulesChange& change) {
  std::vector<std::string> changed;
  for (const RuleChange& rule : change.changed) changed.push_back(ChangedText(rule));
  std::vector<std::string> parts;
  AddNames("added", change.added, &parts);
  AddNames("removed", change.removed, &parts);
  AddNames("changed", changed, &parts);
  return absl::StrJoin(parts, "; ");
}

std::string RulesChangeText(const v1::RuleSet& before, const v1::RuleSet& after) {
  return RulesChangeText(ChangeOf(before, after));
}

JsonObject RulesChangeJson(const RulesChange& change) {
  std::vector<std::string> changed;
  for (const RuleChange& rule : change.changed) {
    changed.push_back(JsonObject().Add("rule", rule.rule).AddRaw("fields", FieldsJson(rule.fields)).Build());
  }
  JsonObject object;
  object.AddRaw("added", NamesJson(change.added)).AddRaw("removed", NamesJson(change.removed));
  return object.AddRaw("changed", JsonArray(changed));
}

}  // namespace gradwatch::cli
