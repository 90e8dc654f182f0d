#include "client/cli/submit.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/cli/job_text.h"
#include "client/cli/near_rules.h"
#include "client/cli/option_types.h"
#include "client/cli/unable_rules.h"
#include "client/cli/watch.h"
#include "client/lib/grpc_status.h"
#include "client/lib/spec_reader.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

// Checking a large table takes the server minutes where it has much to do.
constexpr absl::Duration kTimeout = absl::Minutes(5);
constexpr int kExternalTries = 3;                           // within that time
constexpr absl::Duration kPause = absl::Milliseconds(500);  // for a server that went away

// The spec of the user. What is wrong with it is a usage error, a missing file too.
absl::StatusOr<v1::JobSpec> ReadSpec(const SubmitOptions& options) {
  absl::StatusOr<v1::JobSpec> spec = client::ReadJobSpec(options.spec);
  absl::Status status = spec.status();
  for (const std::string& assignment : options.assignments) {
    if (status.ok()) status = client::SetField(&*spec, assignment);
  }
  if (!status.ok()) return absl::IsInvalidArgument(status) ? status : absl::InvalidArgumentError(status.message());
  if (!options.name.empty()) spec->set_display_name(options.name);
  if (!options.retention.empty()) SetRetention(options.retention, spec->mutable_retention());
  return spec;
}

// What was taken for granted when the data was read.
void NoteData(const v1::Job& job, const Session& session) {
  if (!job.data().note().empty()) session.Note(absl::StrCat("data: ", job.data().note()));
}

void NoteRules(const v1::RuleSet& written, const v1::Job& job, const Session& session) {
  NoteReplacedDefaults(written, job.spec().rules(), session);
  NoteNearRules(written, job.spec().rules(), session);
}

// How a foreign program gets at its job: the secret is told only now.
std::string AttachText(const v1::Job& job) {
  return absl::StrCat(
      "the job waits for its trainer, which attaches by TrainerService.AttachTrainer with this token, told "
      "only now: ",
      job.attach_token());
}

std::string SubmittedText(const v1::Job& job) { return absl::StrCat("job ", job.job_id(), " submitted"); }

// Before the stream of a job that is followed: for programs as its first object.
void TellToken(const v1::Job& job, Session& session) {
  const std::string text = AttachText(job);
  if (session.output() == Output::kTable) return session.Note(text);
  session.SetDone(text);
  session.PrintItem(
      JsonObject().Add("type", "submitted").Add("job", job.job_id()).Add("attach_token", job.attach_token()));
  if (!session.CheckOutput().ok()) return session.Note(text);
  session.SetDone(SubmittedText(job));  // the token is told
}

void PrintDryRun(const v1::Job& job, const Session& session) {
  session.Print(job.spec(), [&] { return client::FormatMessage(job.spec(), client::OutputSyntax::kYaml); }, {});
  session.Note(job.spec().has_external() ? "the spec is valid; a foreign program is to train it"
                                         : absl::StrCat("the spec is valid; needs ", EstimateText(job.estimate())));
  NoteData(job, session);
}

// Whether it is worth asking again, as the same request: the answer may tell of a job that is accepted.
bool IsUnanswered(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status);
}

// Why it is asked again, where it is unavailable: one that gives a reason of its own is there, and has answered.
std::string AgainText(const absl::Status& status) {
  const std::string reason = client::GetReason(status);
  const bool went_away = reason.empty() || reason == "SHUTTING_DOWN";
  return absl::StrCat("gradwatch: the server ",
                      went_away ? "went away before it answered" : "cannot say now whether it has accepted the job",
                      "; it is asked again, as the same request");
}

// Asks for the job. The answer about an external one holds a secret that is told nobody else: where it does not come,
// or is lost with the server, it is asked for again, as the same request, while there is time. `may_be_accepted`:
// whether there may be such a job though there is an error.
absl::StatusOr<v1::Job> Create(const v1::CreateJobRequest& request, const Session& session, bool* may_be_accepted) {
  const bool has_secret = request.spec().has_external() && !request.validate_only();
  const int tries = has_secret ? kExternalTries : 1;  // that wait for their whole time
  const absl::Duration timeout = session.Timeout(kTimeout) / tries;
  const absl::Time deadline = session.Deadline(kTimeout);
  absl::Duration left = timeout;
  bool said = false;
  for (int late = 0;;) {
    absl::StatusOr<v1::Job> job =
        session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::CreateJob, request,
                                  client::Repeat::kWhenUnavailable, std::min(timeout, left));
    // Once it may be, that no server is there any more, or turns all away, does not change it; an answer does.
    const bool is_open = IsUnanswered(job.status()) || absl::IsResourceExhausted(job.status());
    *may_be_accepted = client::MayBeDone(job.status()) || (*may_be_accepted && is_open);
    if (absl::IsDeadlineExceeded(job.status())) ++late;
    left = deadline - session.io().now();
    if (!has_secret || !*may_be_accepted || !IsUnanswered(job.status()) || late == tries) return job;
    if (left <= absl::ZeroDuration()) return job;
    if (!absl::IsUnavailable(job.status())) continue;
    if (!std::exchange(said, true)) session.Note(AgainText(job.status()));
    if (!session.connection().AwaitReconnection(std::min(kPause, left))) return absl::CancelledError("interrupted");
  }
}

// The error where there was no answer: the server may be checking still, and accept the job then, or have accepted it.
absl::Status Unanswered(const absl::Status& status, const v1::CreateJobRequest& request) {
  const absl::string_view message = absl::StripSuffix(status.message(), client::kMayBeDone);
  const bool is_unheard = absl::IsCancelled(status) || absl::IsDeadlineExceeded(status);
  if (request.validate_only()) {
    return absl::Status(status.code(), absl::StrCat(message, is_unheard ? " before the spec was checked" : ""));
  }
  const char* const advice =
      request.spec().has_external()
          ? "its token is lost then: delete it (gradwatch job delete --force) and submit it again"
          : "repeated with the same --job-id it cannot start a second time";
  return absl::Status(
      status.code(), absl::StrCat(message, "; the job may be accepted all the same: see gradwatch job list; ", advice));
}

}  // namespace

CLI::App* AddSubmit(CLI::App& parent, SubmitOptions* options) {
  CLI::App* app = parent.add_subcommand("submit", "Send a job to the server");
  app->add_option("SPEC", options->spec, "File with the job: YAML, JSON or textproto")->required();
  app->add_option("--set", options->assignments, "A field of the spec, path=value; may be repeated")
      ->allow_extra_args(false)
      ->take_all();
  app->add_option("--name", options->name, "What people call the job");
  AddRetentionOptions(*app, &options->retention);
  app->add_option("--job-id", options->job_id, "The id wanted; unset: the server makes one")->check(NotEmpty());
  auto* follow = app->add_flag("--follow", options->follow, "Watch the job to its end, which gives the exit code");
  app->add_flag("--dry-run", options->dry_run,
                "Only check, and print the spec as it would run: with the defaults of controls, rules and optimizer")
      ->excludes(follow);
  app->footer(
      "A spec with an `external` part is a job that a program of yours trains: it waits until that attaches, with the\n"
      "token that is told here, once: with the job, in JSON as `attach_token`; with --follow on the error stream, in "
      "JSON\n"
      "as the first object. Where the output cannot be written the error tells it. One whose answer was lost is to be\n"
      "stopped (gradwatch job delete --force) and submitted again.\n"
      "Without --timeout the server has 5 minutes to check the spec and its data. When the time is up, or the server\n"
      "went away with its answer, the job may be accepted all the same; with --job-id the same command cannot start a\n"
      "second one.");
  return app;
}

absl::StatusOr<ExitCode> RunSubmit(const SubmitOptions& options, Session& session) {
  absl::StatusOr<v1::JobSpec> spec = ReadSpec(options);
  if (!spec.ok()) return spec.status();
  v1::CreateJobRequest request;
  *request.mutable_spec() = *std::move(spec);
  request.set_job_id(options.job_id);
  request.set_request_id(client::RandomUuid());
  request.set_validate_only(options.dry_run);
  bool may_be_accepted = false;
  const absl::StatusOr<v1::Job> job = Create(request, session, &may_be_accepted);
  if (may_be_accepted) return Unanswered(job.status(), request);
  if (!job.ok()) return job.status();
  const v1::RuleSet& written = request.spec().rules();
  if (options.dry_run) {
    PrintDryRun(*job, session);
    NoteRules(written, *job, session);
    return ExitCode::kSuccess;
  }
  if (options.follow) {
    session.Note(SubmittedText(*job));
    if (job->spec().has_external()) TellToken(*job, session);
    NoteData(*job, session);
    NoteRules(written, *job, session);
    NoteUnableRules(job->job_id(), session);
    WatchOptions watch;
    watch.job_id = job->job_id();
    watch.from_beginning = true;
    return RunWatch(watch, session);
  }
  std::string text = absl::StrCat(job->job_id(), " submitted");
  if (job->spec().has_external()) absl::StrAppend(&text, "; ", AttachText(*job));
  session.SetDone(text);  // with the token, which nobody can ask for again
  session.Print(*job, [&] { return text; });
  NoteData(*job, session);
  NoteRules(written, *job, session);
  NoteUnableRules(job->job_id(), session);
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
