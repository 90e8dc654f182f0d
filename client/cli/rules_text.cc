#include "client/cli/rules_text.h"

#include <algorithm>
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

}  // namespace

std::string ConditionText(const v1::Rule& rule) {
  const std::string words = ConditionWords(rule);
  if (words.empty()) return rule.off() ? "-" : "one that this version of gradwatch does not know";
  const std::string tensors = rule.tensors().empty() ? "" : absl::StrCat("; tensors ", rule.tensors());
  return absl::StrCat(words, StepsText(rule), tensors);
}

std::string ArmingText(const v1::Rule& rule, const v1::Job& job) {
  if (rule.off()) return "off";
  if (job.spec().has_external() && !rule.has_stall()) return "judged by the program";
  const bool is_over = client::IsFinal(job.state());
  if (!rule.has_armed_at()) {
    return rule.unable().empty() ? "-" : is_over ? absl::StrCat("never: ", rule.unable()) : UnableText(rule);
  }
  const std::string part = rule.unable().empty() ? "" : absl::StrCat("; ", UnableText(rule));
  if (is_over && rule.armed_at() >= job.steps_done()) {
    return absl::StrCat("never: step ", rule.armed_at(), " would have been the first");
  }
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

v1::Rule WrittenRule(v1::Rule rule) {
  rule.clear_off();
  rule.clear_armed_at();
  rule.clear_unable();
  return rule;
}

}  // namespace gradwatch::cli
