// What rules may be, and how those of a preset and a job's own become one list.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/error.h"
#include "core/detect/alert_budget.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "core/detect/rule_fields.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxRules = 64;
constexpr size_t kMaxNameSize = 63;
constexpr size_t kMaxGlobSize = 256;
// Steps of which it can be told on which of them a condition held.
constexpr int kMaxWithinSteps = 64;
// The server tells stalls of every job: without a rule about them under this name, which no other rule may have.
constexpr absl::string_view kStallRule = "stall";
// Norms are doubles: one that is e to this power times another cannot be.
constexpr double kLargestLogRatio = 709;

void CheckName(const std::string& name, FieldErrors* errors) {
  bool good = !name.empty() && name.size() <= kMaxNameSize;
  for (const char c : name) good = good && (absl::ascii_isalnum(c) || c == '_' || c == '-');
  if (!good) {
    errors->Add("name",
                absl::StrCat("must have 1 to ", kMaxNameSize, " letters, digits, '_' or '-', is \"", name, "\""));
  }
  if (name == kTruncationRule) errors->Add("name", absl::StrCat("\"", name, "\" is a name that gradwatch uses itself"));
}

// The server judges it, by the time and not by steps.
void CheckNoSteps(const v1::Rule& rule, FieldErrors* errors) {
  constexpr char kNoMeaning[] = "has no meaning for a rule about steps that do not come";
  if (rule.has_for_steps()) errors->Add("for_steps", kNoMeaning);
  if (rule.has_within_steps()) errors->Add("within_steps", kNoMeaning);
  if (rule.has_resolve_after_steps()) errors->Add("resolve_after_steps", kNoMeaning);
}

void CheckSteps(const v1::Rule& rule, FieldErrors* errors) {
  if (rule.has_stall()) return CheckNoSteps(rule, errors);
  const int for_steps = rule.has_for_steps() ? rule.for_steps() : 1;
  if (for_steps < 1) errors->Add("for_steps", absl::StrCat("must be at least 1, is ", for_steps));
  if (rule.has_first_step() && for_steps > 1) {
    errors->Add("for_steps", absl::StrCat("must be 1 for a rule that judges one step alone, is ", for_steps));
  }
  // In a row is what it means to be among as many, and that may be any number.
  const int within = rule.has_within_steps() ? rule.within_steps() : for_steps;
  if (within != for_steps && (within < for_steps || within > kMaxWithinSteps)) {
    errors->Add("within_steps",
                absl::StrCat("must be in for_steps, ", for_steps, ", to ", kMaxWithinSteps, ", is ", within));
  }
  if (rule.has_resolve_after_steps() && rule.resolve_after_steps() < 1) {
    errors->Add("resolve_after_steps", absl::StrCat("must be at least 1, is ", rule.resolve_after_steps()));
  }
}

// Whether the rule looks at single tensors, so that a glob means something.
bool IsPerTensor(const v1::Rule& rule) {
  return rule.has_non_finite() || rule.has_update_ratio() || rule.has_vanishing() || rule.has_frozen() ||
         rule.norm_limit().per_tensor() || rule.norm_spike().per_tensor();
}

void CheckTensors(const v1::Rule& rule, FieldErrors* errors) {
  if (rule.tensors().empty()) return;
  if (rule.tensors().size() > kMaxGlobSize) {
    errors->Add("tensors",
                absl::StrCat("must have at most ", kMaxGlobSize, " characters, has ", rule.tensors().size()));
  } else if (!IsPerTensor(rule)) {
    errors->Add("tensors", absl::StrCat("\"", rule.tensors(),
                                        "\" has no meaning for a rule about the whole network; set per_tensor, if its "
                                        "condition has that, or leave it out"));
  }
}

// A limit that no norm can be above would be silent for ever.
void CheckCanFire(const v1::NormSpikeCondition& spike, FieldErrors* errors) {
  if (spike.max_deviations() * spike.min_deviation() <= kLargestLogRatio) return;
  errors->Add("norm_spike.max_deviations",
              absl::StrCat("can never be exceeded: ", spike.max_deviations(), " times min_deviation ",
                           spike.min_deviation(), " is above ", kLargestLogRatio, ", the logarithm of any ratio"));
}

// Without a baseline a number that is meant against one would be read by nobody.
void CheckNoBaseline(const v1::SeriesCondition& series, FieldErrors* errors) {
  if (series.has_factor()) errors->Add("series.factor", "needs a baseline");
  if (series.has_max_deviations()) errors->Add("series.max_deviations", "needs a baseline");
  if (series.has_limit() || series.has_factor() || series.has_max_deviations()) return;
  errors->Add("series.limit", "must be set: there is no other limit");
}

void CheckBaseline(const v1::SeriesCondition& series, FieldErrors* errors) {
  if (!series.has_factor() && !series.has_max_deviations()) {
    errors->Add("series.baseline", "needs factor or max_deviations, else nothing is judged against it");
  }
  const bool has_deviation = series.baseline() == v1::SeriesCondition::BASELINE_MEAN ||
                             series.baseline() == v1::SeriesCondition::BASELINE_MOVING;
  if (series.has_max_deviations() && !has_deviation) {
    errors->Add("series.max_deviations", "needs the baseline MEAN or MOVING: the others have no deviation");
  }
  if (series.warm_up() > series.window()) {
    errors->Add("series.warm_up", absl::StrCat("must be in 1 to window, ", series.window(), ", is ", series.warm_up()));
  }
}

// What fields mean together. For a resolved rule whose fields are in their ranges.
void CheckTogether(const v1::Rule& rule, FieldErrors* errors) {
  if (rule.has_norm_spike()) CheckCanFire(rule.norm_spike(), errors);
  if (!rule.has_series()) return;
  if (rule.series().baseline() == v1::SeriesCondition::BASELINE_UNSPECIFIED) {
    CheckNoBaseline(rule.series(), errors);
  } else {
    CheckBaseline(rule.series(), errors);
  }
}

void ResolveRule(v1::Rule* rule) {
  rule->clear_off();
  rule->clear_armed_at();
  rule->clear_unable();
  if (rule->severity() == v1::SEVERITY_UNSPECIFIED) rule->set_severity(v1::SEVERITY_WARNING);
  SetConditionDefaults(rule);
  if (rule->has_stall()) return;
  if (!rule->has_for_steps()) rule->set_for_steps(1);
  if (!rule->has_within_steps()) rule->set_within_steps(rule->for_steps());
  if (!rule->has_resolve_after_steps()) rule->set_resolve_after_steps(20);
}

std::string PathOf(int rule) { return absl::StrCat("rules[", rule, "]"); }

// "\"a\", \"b\"".
template <typename Names>
std::string Quoted(const Names& names) {
  return absl::StrCat("\"", absl::StrJoin(names, "\", \""), "\"");
}

std::vector<std::string> NamesOf(const v1::RuleSet& rules) {
  std::vector<std::string> names;
  for (const v1::Rule& rule : rules.rules()) names.push_back(rule.name());
  return names;
}

// Of an unknown preset nobody knows what it has.
bool IsKnown(absl::string_view preset) { return preset.empty() || IsPreset(preset); }

bool IsSameLetter(char a, char b) { return absl::ascii_tolower(a) == absl::ascii_tolower(b); }

// Whether one letter of a name was left out, added, mistaken or changed places with the next, or its case is another.
bool IsNear(absl::string_view a, absl::string_view b) {
  for (; !a.empty() && !b.empty() && IsSameLetter(a.front(), b.front()); a.remove_prefix(1)) b.remove_prefix(1);
  for (; !a.empty() && !b.empty() && IsSameLetter(a.back(), b.back()); a.remove_suffix(1)) b.remove_suffix(1);
  if (a.size() <= 1 && b.size() <= 1) return true;
  return a.size() == 2 && b.size() == 2 && IsSameLetter(a[0], b[1]) && IsSameLetter(a[1], b[0]);
}

// "no rule \"a1\" to take out; the preset has \"a\", \"b\"; did you mean \"a\"?".
std::string NotInPreset(absl::string_view preset, const std::string& rule, absl::string_view purpose) {
  const std::vector<std::string> names = NamesOf(PresetRules(preset));
  const auto near =
      std::find_if(names.begin(), names.end(), [&](const std::string& name) { return IsNear(name, rule); });
  const std::string meant = near == names.end() ? "" : absl::StrCat("; did you mean \"", *near, "\"?");
  return absl::StrCat("no rule \"", rule, "\" ", purpose, "; the preset has ", names.empty() ? "none" : Quoted(names),
                      meant);
}

// For one that is completed by the rule of the preset. One that is off is to be right too, for the day it is on again.
absl::Status CheckRule(const v1::Rule& rule, absl::string_view preset) {
  FieldErrors errors;
  CheckName(rule.name(), &errors);
  if (!v1::Severity_IsValid(rule.severity())) {
    errors.Add("severity", absl::StrCat("unknown severity ", static_cast<int>(rule.severity())));
  }
  if (rule.condition_case() == v1::Rule::CONDITION_NOT_SET && !rule.off() && IsKnown(preset)) {
    errors.Add("condition", absl::StrCat("must be set: there is ",
                                         NotInPreset(preset, rule.name(), "to change, or to take out with off: true")));
  }
  CheckSteps(rule, &errors);
  CheckConditionFields(rule, &errors);
  CheckTensors(rule, &errors);
  if (errors.empty()) {
    v1::Rule resolved = rule;
    ResolveRule(&resolved);
    CheckTogether(resolved, &errors);
  }
  return errors.ToStatus();
}

// Adds what is wrong with rule `index` of a set, and which one that is by its name, where nothing there says so.
void AddOfRule(int index, const v1::Rule& rule, const absl::Status& status, FieldErrors* errors) {
  const bool is_name = !rule.name().empty() && rule.name().size() <= kMaxNameSize;
  const std::string name = absl::StrCat("\"", rule.name(), "\"");
  for (const FieldViolation& violation : GetFieldViolations(status)) {
    const bool tells_it = is_name && !absl::StrContains(violation.description, name);
    errors->Add(absl::StrCat(PathOf(index), ".", violation.field),
                absl::StrCat(violation.description, tells_it ? absl::StrCat(" (rule ", name, ")") : ""));
  }
}

// Names of the rules themselves, and that those which are taken out are there.
void CheckNames(const v1::RuleSet& rules, FieldErrors* errors) {
  const std::vector<std::string> preset = NamesOf(PresetRules(rules.preset()));
  std::set<std::string> names;
  for (int i = 0; i < rules.rules_size(); ++i) {
    const v1::Rule& rule = rules.rules(i);
    const std::string path = PathOf(i) + ".name";
    if (!names.insert(rule.name()).second) errors->Add(path, absl::StrCat("is there twice: \"", rule.name(), "\""));
    if (rule.off()) {
      if (!IsKnown(rules.preset())) continue;
      if (std::find(preset.begin(), preset.end(), rule.name()) != preset.end()) continue;
      errors->Add(path, absl::StrCat("there is ", NotInPreset(rules.preset(), rule.name(), "to take out")));
    } else if (!rule.has_stall() && rule.name() == kStallRule) {
      errors->Add(path, absl::StrCat("\"", kStallRule, "\" is the name of the server's alert about stalls"));
    }
  }
}

// At most one rule about stalls, that of the preset counted unless the set has another rule of its name.
void CheckStalls(const v1::RuleSet& rules, FieldErrors* errors) {
  const std::vector<std::string> own = NamesOf(rules);
  std::string other;
  for (const v1::Rule& rule : PresetRules(rules.preset()).rules()) {
    if (rule.has_stall() && std::find(own.begin(), own.end(), rule.name()) == own.end()) other = rule.name();
  }
  for (int i = 0; i < rules.rules_size(); ++i) {
    if (!rules.rules(i).has_stall() || rules.rules(i).off()) continue;
    if (!other.empty()) {
      AddOfRule(i, rules.rules(i),
                InvalidField("stall", absl::StrCat("is there twice: a set has one rule about stalls at most, and \"",
                                                   other, "\" is one")),
                errors);
    }
    other = rules.rules(i).name();
  }
}

// Null: the preset has none of this name.
const v1::Rule* FindInPreset(absl::string_view preset, const std::string& name) {
  for (const v1::Rule& rule : PresetRules(preset).rules()) {
    if (rule.name() == name) return &rule;
  }
  return nullptr;
}

// The rule as it is meant: what one with the name of a preset's leaves unset is as it is there, unless it has another
// condition; so one with no condition changes severity or steps alone. Who writes one number means the rule with that
// number, and the defaults of the condition may make it louder. Of two fields that bound each other the preset's gives
// way.
v1::Rule Complete(const v1::Rule& rule, absl::string_view preset) {
  const v1::Rule* const base = FindInPreset(preset, rule.name());
  const bool has_other_condition = rule.condition_case() != v1::Rule::CONDITION_NOT_SET && base != nullptr &&
                                   rule.condition_case() != base->condition_case();
  if (base == nullptr || has_other_condition) return rule;
  v1::Rule complete = *base;
  complete.MergeFrom(rule);
  if (!rule.has_within_steps() && complete.within_steps() < complete.for_steps()) complete.clear_within_steps();
  if (rule.has_series() && !rule.series().has_warm_up() && complete.series().has_window() &&
      complete.series().warm_up() > complete.series().window()) {
    complete.mutable_series()->clear_warm_up();
  }
  return complete;
}

// The rules of the preset with those of the set in their place or beside them, completed, other fields unset.
v1::RuleSet Merge(const v1::RuleSet& rules) {
  std::map<std::string, const v1::Rule*> own;
  for (const v1::Rule& rule : rules.rules()) own.emplace(rule.name(), &rule);
  v1::RuleSet merged;
  const auto add = [&](const v1::Rule& rule) {
    if (!rule.off()) *merged.add_rules() = rule;
  };
  std::set<std::string> placed;
  for (const v1::Rule& rule : PresetRules(rules.preset()).rules()) {
    const auto it = own.find(rule.name());
    add(it == own.end() ? rule : Complete(*it->second, rules.preset()));
    placed.insert(rule.name());
  }
  for (const v1::Rule& rule : rules.rules()) {
    if (placed.count(rule.name()) == 0) add(rule);
  }
  return merged;
}

}  // namespace

absl::Status ValidateRules(const v1::RuleSet& rules) {
  FieldErrors errors;
  if (!rules.preset().empty() && !IsPreset(rules.preset())) {
    errors.Add("preset",
               absl::StrCat("there is no preset \"", rules.preset(), "\"; there are ", Quoted(PresetNames())));
  }
  if (rules.rules_size() > kMaxRules) {  // not to tell of each of a million
    errors.Add("rules", absl::StrCat("at most ", kMaxRules, ", are ", rules.rules_size()));
    return errors.ToStatus();
  }
  v1::RuleSet complete = rules;
  for (v1::Rule& rule : *complete.mutable_rules()) rule = Complete(rule, rules.preset());
  for (int i = 0; i < complete.rules_size(); ++i) {
    AddOfRule(i, complete.rules(i), CheckRule(complete.rules(i), rules.preset()), &errors);
  }
  CheckNames(complete, &errors);
  CheckStalls(complete, &errors);
  if (const int count = Merge(rules).rules_size(); count > kMaxRules) {
    errors.Add("rules", absl::StrCat("at most ", kMaxRules, " with those of the preset, are ", count));
  }
  return errors.ToStatus();
}

std::string MeasureOf(const v1::Rule& rule) {
  v1::Rule measure = rule;
  measure.clear_severity();
  measure.clear_for_steps();
  measure.clear_within_steps();
  measure.clear_resolve_after_steps();
  return measure.SerializeAsString();
}

v1::RuleSet ResolveRules(const v1::RuleSet& rules) {
  v1::RuleSet resolved = Merge(rules);
  for (v1::Rule& rule : *resolved.mutable_rules()) ResolveRule(&rule);
  resolved.set_preset(std::string(kNoPreset));
  return resolved;
}

}  // namespace gradwatch::core
