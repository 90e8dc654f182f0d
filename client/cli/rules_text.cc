#include "client/cli/rules_text.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/condition_words.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/job_state.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

constexpr size_t kMaxNames = 8;  // in a line about all rules

// "; on 2 of 3 steps"; empty: one step is enough.
std::string StepsText(const v1::Rule& rule) {
  if (rule.for_steps() <= 1) return "";
  if (rule.within_steps() <= rule.for_steps()) return absl::StrCat("; on ", rule.for_steps(), " steps in a row");
  return absl::StrCat("; on ", rule.for_steps(), " of ", rule.within_steps(), " steps");
}

// The rules that there are, by name, as they can be compared.
std::map<std::string, std::string> ByName(const v1::RuleSet& rules) {
  std::map<std::string, std::string> by_name;
  for (v1::Rule rule : rules.rules()) {
    if (rule.off()) continue;
    rule.clear_off();
    rule.clear_armed_at();
    rule.clear_unable();
    by_name[rule.name()] = rule.SerializeAsString();
  }
  return by_name;
}

void AddNames(const char* what, const std::vector<std::string>& names, std::vector<std::string>* parts) {
  if (!names.empty()) parts->push_back(absl::StrCat(what, " ", client::Printable(absl::StrJoin(names, ", "))));
}

}  // namespace

std::string ConditionText(const v1::Rule& rule) {
  const std::string words = ConditionWords(rule);
  if (words.empty()) return rule.off() ? "-" : "one that this version of gradwatch does not know";
  const std::string tensors = rule.tensors().empty() ? "" : absl::StrCat("; tensors ", rule.tensors());
  return absl::StrCat(words, StepsText(rule), tensors);
}

std::string ArmingText(const v1::Rule& rule, const v1::Job& job) {
  if (rule.off()) return "off";
  if (client::IsFinal(job.state())) return "-";
  if (job.spec().has_external() && !rule.has_stall()) return "judged by the program";
  if (!rule.has_armed_at()) return rule.unable().empty() ? "-" : UnableText(rule);
  const std::string part = rule.unable().empty() ? "" : absl::StrCat("; ", UnableText(rule));
  if (rule.armed_at() <= job.steps_done()) return absl::StrCat("from step ", rule.armed_at(), part);
  const int64_t missing = rule.armed_at() - job.steps_done();
  return absl::StrCat("not yet: needs ", missing, missing == 1 ? " more step" : " more steps", part);
}

std::string UnableText(const v1::Rule& rule) {
  return absl::StrCat(rule.has_armed_at() ? "judges in part: " : "cannot judge: ", rule.unable());
}

std::string RulesTable(const v1::RuleSet& rules, const v1::Job& job) {
  std::vector<std::vector<std::string>> rows = {{"RULE", "SEVERITY", "CONDITION", "ARMED"}};
  for (const v1::Rule& rule : rules.rules()) {
    rows.push_back({rule.name(), client::Word(rule.severity()), ConditionText(rule), ArmingText(rule, job)});
  }
  return TableText(rows);
}

std::string RulesText(const v1::RuleSet& rules) {
  std::vector<std::string> names;
  for (const v1::Rule& rule : rules.rules()) {
    if (!rule.off()) names.push_back(rule.name());
  }
  if (names.empty())
    return rules.preset().empty() ? "none" : absl::StrCat("preset ", client::Printable(rules.preset()));
  std::string text = absl::StrCat(names.size(), names.size() == 1 ? " rule (" : " rules (");
  if (names.size() > kMaxNames) {
    names.resize(kMaxNames);
    names.emplace_back("...");
  }
  return absl::StrCat(text, client::Printable(absl::StrJoin(names, ", ")), ")");
}

std::string RulesChangeText(const v1::RuleSet& before, const v1::RuleSet& after) {
  const auto old_rules = ByName(before), new_rules = ByName(after);
  std::vector<std::string> added, removed, changed;
  for (const auto& [name, rule] : new_rules) {
    const auto old_rule = old_rules.find(name);
    if (old_rule == old_rules.end()) {
      added.push_back(name);
    } else if (old_rule->second != rule) {
      changed.push_back(name);
    }
  }
  for (const auto& [name, rule] : old_rules) {
    if (new_rules.count(name) == 0) removed.push_back(name);
  }
  std::vector<std::string> parts;
  AddNames("added", added, &parts);
  AddNames("removed", removed, &parts);
  AddNames("changed", changed, &parts);
  return absl::StrJoin(parts, "; ");
}

}  // namespace gradwatch::cli
