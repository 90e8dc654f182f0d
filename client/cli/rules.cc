#include "client/cli/rules.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cli/near_rules.h"
#include "client/cli/option_types.h"
#include "client/cli/rules_change.h"
#include "client/cli/rules_help.h"
#include "client/cli/rules_text.h"
#include "client/cli/short_rules.h"
#include "client/cli/waiting_edits.h"
#include "client/lib/grpc_status.h"
#include "client/lib/spec_reader.h"

namespace gradwatch::cli {
namespace {

using Stub = v1::AlertService::StubInterface;

// The rules of the user. What is wrong with them is a usage error, a missing file too. None: --of-spec.
absl::StatusOr<std::optional<v1::RuleSet>> ReadRules(const RulesApplyOptions& options) {
  if (options.of_spec) return std::nullopt;
  v1::RuleSet rules;
  if (!options.preset.empty()) {
    rules.set_preset(options.preset);
    return rules;
  }
  if (options.file.empty()) return absl::InvalidArgumentError("nothing to apply: give --file, --preset or --of-spec");
  absl::StatusOr<v1::RuleSet> read = client::ReadRules(options.file);
  if (absl::IsInvalidArgument(read.status())) return read.status();
  if (!read.ok()) return absl::InvalidArgumentError(read.status().message());
  rules = *std::move(read);
  // A file that was cut short, or of another kind, must not bring back the default rules.
  if (rules.preset().empty() && rules.rules().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.file, ": has neither rules nor a preset; for the default rules say preset gradwatch, for none none"));
  }
  return rules;
}

// Only what is set: of rules that are filled in that is all there is, and other fields would not be read back.
void PrintRules(const v1::RuleSet& rules, const v1::Job& job, const Session& session) {
  session.Print(rules, [&] { return RulesTable(rules, job); }, {});
}

// What an edit would change of the rules that hold, in the words in which one is answered, and the rules themselves.
void PrintChecked(const v1::RuleSet& before, const v1::RuleSet& after, const v1::Job& job, const Session& session) {
  const RulesChange change = ChangeOf(before, after);
  JsonObject object;
  object.Add("job", job.job_id()).Add("state", "checked").Add("change", RulesChangeJson(change));
  object.AddRaw("rules", client::FormatMessage(after, client::OutputSyntax::kJson));
  session.Print(object, [&] {
    const std::string text = change.empty() ? UnchangedText(job) : absl::StrCat("rules: ", RulesChangeText(change));
    return absl::StrCat(text, "\n", RulesTable(after, job));
  });
}

// Those that were applied with --at-step, or are on their way: they are no part of what holds. A hint.
void NoteWaitingRules(const v1::Job& job, const Session& session) {
  if (job.waiting_edits() == 0) return;
  const absl::StatusOr<Edits> waiting = ReadWaitingEdits(job.job_id(), session);
  if (!waiting.ok()) return;
  for (const v1::Adjustment& edit : InTurn(*waiting, job.steps_done())) {
    if (absl::c_linear_search(edit.paths(), "rules")) session.Note(WaitingText(edit));
  }
}

absl::StatusOr<ExitCode> CheckRules(const AdjustingOptions& options, const std::optional<v1::RuleSet>& rules,
                                    const Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  v1::ApplyRulesRequest request;
  request.set_job_id(options.job_id);
  *request.mutable_rules() = rules.has_value() ? *rules : job->spec().rules();
  request.set_etag(options.if_etag);
  if (options.at_step.has_value()) request.set_at_step(*options.at_step);
  request.set_validate_only(true);
  const absl::StatusOr<v1::ApplyRulesResponse> checked = session.connection().Call(
      session.connection().alerts(), &Stub::ApplyRules, request, client::Repeat::kWhenUnavailable);
  if (!checked.ok()) return checked.status();
  const absl::StatusOr<v1::RuleSet> before = RulesInForce(options.job_id, session);
  if (!before.ok()) return before.status();
  PrintChecked(*before, checked->rules(), *job, session);
  NoteWaitingRules(*job, session);
  NoteReplacedDefaults(request.rules(), checked->rules(), session);
  NoteNearRules(request.rules(), checked->rules(), session);
  session.Note("the rules are valid; nothing was changed");
  return ExitCode::kSuccess;
}

}  // namespace

absl::StatusOr<v1::RuleSet> RulesInForce(const std::string& job_id, const Session& session) {
  v1::GetRulesRequest request;
  request.set_job_id(job_id);
  return session.connection().Call(session.connection().alerts(), &Stub::GetRules, request,
                                   client::Repeat::kWhenUnavailable);
}

absl::Status WithoutControls(const absl::Status& status) {
  constexpr absl::string_view kControls = "controls.";
  google::rpc::BadRequest details;
  for (auto& violation : client::GetFieldViolations(status)) {
    violation.set_field(std::string(absl::StripPrefix(violation.field(), kControls)));
    *details.add_field_violations() = std::move(violation);
  }
  if (details.field_violations().empty()) return status;
  absl::Status stripped(status.code(), absl::StripPrefix(status.message(), kControls));
  status.ForEachPayload(
      [&stripped](absl::string_view url, const absl::Cord& payload) { stripped.SetPayload(url, payload); });
  stripped.SetPayload(absl::StrCat("type.googleapis.com/", details.GetTypeName()),
                      absl::Cord(details.SerializeAsString()));
  return stripped;
}

const std::vector<std::string>& PresetNames() {
  static const auto* const names = [] {
    auto* const all = new std::vector<std::string>;
    for (const PresetLine& preset : KnownPresets()) all->push_back(preset.name);
    return all;
  }();
  return *names;
}

CLI::App* AddRulesGet(CLI::App& parent, RulesGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print the rules that hold, and since when each of them can fire");
  app->add_option("JOB", options->job_id, "The job")->required();
  app->footer(
      "`rules apply` reads what is printed as json or yaml: json has all rules with all their numbers, yaml the preset "
      "by\n"
      "its name and what is not as there.");
  return app;
}

CLI::App* AddRulesApply(CLI::App& parent, RulesApplyOptions* options) {
  CLI::App* app =
      parent.add_subcommand("apply", "Put other rules in the place of all that a job has, and say from which step");
  AddAdjustingOptions(*app, &options->adjusting);
  auto* file =
      app->add_option("-f,--file", options->file,
                      "File with the rules, or with a job that has some: YAML, JSON or textproto; -: from input");
  file->check(NotEmpty());
  auto* preset = app->add_option("--preset", options->preset,
                                 absl::StrCat("The rules of this name: ", absl::StrJoin(PresetNames(), ", ")));
  preset->check(NotEmpty())->excludes(file);
  app->add_flag("--of-spec", options->of_spec, "Back to the rules with which the job was submitted")
      ->excludes(file)
      ->excludes(preset);
  app->add_flag("--dry-run", options->dry_run,
                "Only check, and print what would change and the rules as they would hold");
  return app;
}

absl::StatusOr<ExitCode> RunRulesGet(const RulesGetOptions& options, Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  const absl::StatusOr<v1::RuleSet> rules = RulesInForce(options.job_id, session);
  if (!rules.ok()) return rules.status();
  // YAML is for those who go on writing.
  PrintRules(session.output() == Output::kYaml ? ShortRules(*rules, session) : *rules, *job, session);
  NoteWaitingRules(*job, session);
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunRulesApply(const RulesApplyOptions& options, Session& session) {
  const absl::StatusOr<std::optional<v1::RuleSet>> rules = ReadRules(options);
  if (!rules.ok()) return rules.status();
  const std::string preset = rules->has_value() ? (*rules)->preset() : "";
  if (options.dry_run) {
    absl::StatusOr<ExitCode> checked = CheckRules(options.adjusting, *rules, session);
    if (!checked.ok()) return WithNearPreset(checked.status(), preset);
    return checked;
  }
  v1::AdjustJobRequest request;
  if (rules->has_value()) *request.mutable_controls()->mutable_rules() = **rules;
  request.mutable_update_mask()->add_paths("rules");
  const auto note_near = [&](const v1::Adjustment& edit) {
    NoteReplacedDefaults(request.controls().rules(), edit.values().rules(), session);
    NoteNearRules(request.controls().rules(), edit.values().rules(), session);
  };
  absl::StatusOr<ExitCode> code = Adjust(
      options.adjusting, [&request](const v1::Job&) { return request; }, session, note_near);
  if (!code.ok()) return WithNearPreset(WithoutControls(code.status()), preset);
  return code;
}

}  // namespace gradwatch::cli
