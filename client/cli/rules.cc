#include "client/cli/rules.h"

#include "client/cli/option_types.h"
#include "client/cli/rules_text.h"
#include "client/lib/spec_reader.h"

namespace gradwatch::cli {
namespace {

using Stub = v1::AlertService::StubInterface;

// The rules of the user. What is wrong with them is a usage error, a missing file too.
absl::StatusOr<v1::RuleSet> ReadRules(const RulesApplyOptions& options) {
  v1::RuleSet rules;
  if (!options.preset.empty()) {
    rules.set_preset(options.preset);
    return rules;
  }
  if (options.file.empty()) return absl::InvalidArgumentError("nothing to apply: give --file or --preset");
  const absl::Status status = client::ReadMessage(options.file, &rules);
  if (status.ok()) return rules;
  return absl::IsInvalidArgument(status) ? status : absl::InvalidArgumentError(status.message());
}

// Only what is set: of rules that are filled in that is all there is, and other fields would not be read back.
void PrintRules(const v1::RuleSet& rules, const v1::Job& job, const Session& session) {
  session.Print(rules, [&] { return RulesTable(rules, job.steps_done()); }, {});
}

absl::StatusOr<ExitCode> CheckRules(const AdjustingOptions& options, const v1::RuleSet& rules, const Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  v1::ApplyRulesRequest request;
  request.set_job_id(options.job_id);
  *request.mutable_rules() = rules;
  request.set_etag(options.if_etag);
  if (options.at_step.has_value()) request.set_at_step(*options.at_step);
  request.set_validate_only(true);
  const absl::StatusOr<v1::ApplyRulesResponse> checked = session.connection().Call(
      session.connection().alerts(), &Stub::ApplyRules, request, client::Repeat::kWhenUnavailable);
  if (!checked.ok()) return checked.status();
  PrintRules(checked->rules(), *job, session);
  session.Note("the rules are valid; nothing was changed");
  return ExitCode::kSuccess;
}

}  // namespace

CLI::App* AddRulesGet(CLI::App& parent, RulesGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print the rules that hold, and since when each of them can fire");
  app->add_option("JOB", options->job_id, "The job")->required();
  app->footer("In json and yaml they have all their numbers, as `rules apply` reads them.");
  return app;
}

CLI::App* AddRulesApply(CLI::App& parent, RulesApplyOptions* options) {
  CLI::App* app =
      parent.add_subcommand("apply", "Put other rules in the place of all that a job has, and say from which step");
  AddAdjustingOptions(*app, &options->adjusting);
  auto* file =
      app->add_option("-f,--file", options->file, "File with the rules: YAML, JSON or textproto; -: from input");
  file->check(NotEmpty());
  app->add_option("--preset", options->preset, "The rules of this name, for example gradwatch")
      ->check(NotEmpty())
      ->excludes(file);
  app->add_flag("--dry-run", options->dry_run, "Only check, and print the rules as they would hold");
  return app;
}

absl::StatusOr<ExitCode> RunRulesGet(const RulesGetOptions& options, Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  v1::GetRulesRequest request;
  request.set_job_id(options.job_id);
  const absl::StatusOr<v1::RuleSet> rules = session.connection().Call(session.connection().alerts(), &Stub::GetRules,
                                                                      request, client::Repeat::kWhenUnavailable);
  if (!rules.ok()) return rules.status();
  PrintRules(*rules, *job, session);
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunRulesApply(const RulesApplyOptions& options, Session& session) {
  const absl::StatusOr<v1::RuleSet> rules = ReadRules(options);
  if (!rules.ok()) return rules.status();
  if (options.dry_run) return CheckRules(options.adjusting, *rules, session);
  v1::AdjustJobRequest request;
  *request.mutable_controls()->mutable_rules() = *rules;
  request.mutable_update_mask()->add_paths("rules");
  return Adjust(
      options.adjusting, [&request](const v1::Job&) { return request; }, session);
}

}  // namespace gradwatch::cli
