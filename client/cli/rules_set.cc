#include "client/cli/rules_set.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/rules.h"
#include "client/cli/rules_text.h"
#include "client/cli/waiting_edits.h"
#include "client/lib/set_field.h"
#include "client/lib/suggestion.h"

namespace gradwatch::cli {
namespace {

using Rules = google::protobuf::RepeatedPtrField<v1::Rule>;

// A path and its value; an error for what is neither.
absl::StatusOr<std::pair<std::string, std::string>> Split(const std::string& assignment) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(assignment, absl::MaxSplits('=', 1));
  if (parts.first.empty() || parts.first.size() == assignment.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected FIELD=VALUE, found \"", assignment, "\""));
  }
  return parts;
}

// Whether a wish may be about the field: another condition makes another rule, which is written in a file.
absl::Status CheckPath(const std::string& path, const v1::Rule& rule) {
  if (path == "name" || path == "armed_at" || path == "unable") {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be set"));
  }
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  const auto* const field = v1::Rule::descriptor()->FindFieldByName(names[0]);
  const auto* const own = v1::Rule::descriptor()->FindFieldByNumber(rule.condition_case());
  const bool is_condition = field != nullptr && field->real_containing_oneof() != nullptr;
  if (!is_condition || field == own) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": rule ", rule.name(), " has the condition ",
                                                 own == nullptr ? "-" : own->name(),
                                                 "; give it another one by `rules apply`"));
}

// What is not said follows what is, where it did before or would not fit any more.
void Follow(const v1::Rule& before, const std::set<std::string>& said, v1::Rule* rule) {
  const bool in_a_row = before.within_steps() <= before.for_steps();
  if (said.count("within_steps") == 0 && (in_a_row || rule->within_steps() < rule->for_steps())) {
    rule->clear_within_steps();
  }
  if (!rule->has_series() || said.count("series.warm_up") > 0) return;
  const bool of_whole_window = before.series().warm_up() == before.series().window();
  if (of_whole_window || rule->series().warm_up() > rule->series().window()) {
    rule->mutable_series()->clear_warm_up();
  }
}

absl::Status SetInRule(const std::vector<std::string>& assignments, v1::Rule* rule) {
  const v1::Rule before = *rule;
  std::set<std::string> said;
  for (const std::string& assignment : assignments) {
    const auto parts = Split(assignment);
    if (!parts.ok()) return parts.status();
    const auto& [path, value] = *parts;
    if (absl::Status status = CheckPath(path, before); !status.ok()) return status;
    if (absl::Status status = client::SetFieldAtPath(path, value, rule); !status.ok()) return status;
    said.insert(path);
  }
  Follow(before, said, rule);
  return absl::OkStatus();
}

absl::Status NoRule(const std::string& name, const Rules& rules) {
  std::vector<std::string> names;
  for (const v1::Rule& rule : rules) names.push_back(rule.name());
  return absl::InvalidArgumentError(
      absl::StrCat("the job has no rule \"", name, "\"", client::Suggestion(name, names)));
}

// The rules that an edit will find which is made now: those that hold, or those of the edits that wait and are due by
// then. `job` was read before: with its etag edits that were accepted or withdrawn since are noticed.
absl::StatusOr<v1::RuleSet> ReadRulesUpTo(absl::optional<int64_t> at_step, const v1::Job& job, const Session& session) {
  Edits waiting;
  if (job.waiting_edits() > 0) {
    absl::StatusOr<Edits> read = ReadWaitingEdits(job.job_id(), session);
    if (!read.ok()) return read.status();
    waiting = *std::move(read);
  }
  // After the list: what was applied in between is in one of them or in both, never in none.
  absl::StatusOr<v1::RuleSet> rules = RulesInForce(job.job_id(), session);
  if (!rules.ok()) return rules.status();
  for (const v1::Adjustment& edit : InTurn(std::move(waiting), job.steps_done())) {
    const bool is_due = !edit.has_at_step() || edit.at_step() <= at_step.value_or(job.steps_done());
    const bool is_of_rules = std::find(edit.paths().begin(), edit.paths().end(), "rules") != edit.paths().end();
    if (is_due && is_of_rules && edit.withdrawn_by().empty()) *rules = edit.values().rules();
  }
  return rules;
}

}  // namespace

CLI::App* AddRulesSet(CLI::App& parent, RulesSetOptions* options) {
  CLI::App* app = parent.add_subcommand("set", "Set fields of one rule of a job, and say from which step they hold");
  AddAdjustingOptions(*app, &options->adjusting);
  app->add_option("RULE", options->rule, "Its name, as `rules get` prints it")->required();
  app->add_option("FIELDS", options->assignments,
                  "Fields of the rule as in a file, of its condition by their path: severity=critical, "
                  "loss_jump.factor=4; off=true takes the rule out")
      ->type_name("FIELD=VALUE")
      ->required();
  app->footer(absl::StrCat(
      app->get_footer(),
      "\nAll rules of the job are sent, with this one changed: those that hold, or where edits wait, those that hold\n"
      "then: with --at-step by that step, else by the next one. An edit of the rules for an earlier step that is made\n"
      "afterwards is undone by it."));
  return app;
}

absl::StatusOr<v1::RuleSet> SetInRules(v1::RuleSet rules, const std::string& name,
                                       const std::vector<std::string>& assignments) {
  for (v1::Rule& rule : *rules.mutable_rules()) rule = WrittenRule(std::move(rule));
  Rules& all = *rules.mutable_rules();
  const auto found = std::find_if(all.begin(), all.end(), [&](const v1::Rule& rule) { return rule.name() == name; });
  if (found == all.end()) return NoRule(name, all);
  if (absl::Status status = SetInRule(assignments, &*found); !status.ok()) return status;
  if (found->off()) all.erase(found);
  return rules;
}

absl::StatusOr<ExitCode> RunRulesSet(const RulesSetOptions& options, Session& session) {
  for (const std::string& assignment : options.assignments) {  // before the server is asked
    if (const auto parts = Split(assignment); !parts.ok()) return parts.status();
  }
  const MakeAdjustment make = [&](const v1::Job& job) -> absl::StatusOr<v1::AdjustJobRequest> {
    absl::StatusOr<v1::RuleSet> rules = ReadRulesUpTo(options.adjusting.at_step, job, session);
    if (rules.ok()) rules = SetInRules(*std::move(rules), options.rule, options.assignments);
    if (!rules.ok()) return rules.status();
    v1::AdjustJobRequest request;
    *request.mutable_controls()->mutable_rules() = *std::move(rules);
    request.mutable_update_mask()->add_paths("rules");
    request.set_etag(job.etag());
    return request;
  };
  absl::StatusOr<ExitCode> code = Adjust(options.adjusting, make, session);
  if (!code.ok()) return WithoutControls(code.status());
  return code;
}

}  // namespace gradwatch::cli
