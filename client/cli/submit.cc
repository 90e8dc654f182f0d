#include "client/cli/submit.h"

#include "absl/strings/str_cat.h"
#include "client/cli/job_text.h"
#include "client/cli/option_types.h"
#include "client/cli/watch.h"
#include "client/lib/spec_reader.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

// Checking a large table takes the server minutes where it has much to do.
constexpr absl::Duration kTimeout = absl::Minutes(5);
constexpr int kExternalTries = 3;  // within that time

// The spec of the user. What is wrong with it is a usage error, a missing file too.
absl::StatusOr<v1::JobSpec> ReadSpec(const SubmitOptions& options) {
  absl::StatusOr<v1::JobSpec> spec = client::ReadJobSpec(options.spec);
  absl::Status status = spec.status();
  for (const std::string& assignment : options.assignments) {
    if (status.ok()) status = client::SetField(&*spec, assignment);
  }
  if (!status.ok()) return absl::IsInvalidArgument(status) ? status : absl::InvalidArgumentError(status.message());
  if (!options.name.empty()) spec->set_display_name(options.name);
  return spec;
}

// What was taken for granted when the data was read.
void NoteData(const v1::Job& job, const Session& session) {
  if (!job.data().note().empty()) session.Note(absl::StrCat("data: ", job.data().note()));
}

// How a foreign program gets at its job: the secret is told only now.
std::string AttachText(const v1::Job& job) {
  return absl::StrCat(
      "the job waits for its trainer, which attaches by TrainerService.AttachTrainer with this token, told "
      "only now: ",
      job.attach_token());
}

// Before the stream of a job that is followed: for programs as its first object.
void TellToken(const v1::Job& job, Session& session) {
  const std::string text = AttachText(job);
  if (session.output() == Output::kTable) return session.Note(text);
  session.SetDone(text);
  session.PrintItem(
      JsonObject().Add("type", "submitted").Add("job", job.job_id()).Add("attach_token", job.attach_token()));
  if (!session.CheckOutput().ok()) session.Note(text);
}

void PrintDryRun(const v1::Job& job, const Session& session) {
  session.Print(job.spec(), [&] { return client::FormatMessage(job.spec(), client::OutputSyntax::kYaml); }, {});
  session.Note(job.spec().has_external() ? "the spec is valid; a foreign program is to train it"
                                         : absl::StrCat("the spec is valid; needs ", EstimateText(job.estimate())));
  NoteData(job, session);
}

// Asks for the job. The answer about an external one holds a secret that is told nobody else: it is asked for again
// where it does not come, as the same request.
absl::StatusOr<v1::Job> Create(const v1::CreateJobRequest& request, const Session& session) {
  const int tries = request.spec().has_external() ? kExternalTries : 1;
  const absl::Duration timeout = session.Timeout(kTimeout) / tries;
  absl::StatusOr<v1::Job> job = absl::DeadlineExceededError("");
  for (int i = 0; i < tries && absl::IsDeadlineExceeded(job.status()); ++i) {
    job = session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::CreateJob, request,
                                    client::Repeat::kWhenUnavailable, timeout);
  }
  return job;
}

// The error where nobody waited any more: the server may be checking still, and accept the job then.
absl::Status Unanswered(const absl::Status& status, const v1::CreateJobRequest& request) {
  const std::string what = absl::IsCancelled(status) ? "interrupted" : "time is up";
  if (request.validate_only()) return absl::Status(status.code(), absl::StrCat(what, " before the spec was checked"));
  const char* const advice =
      request.spec().has_external()
          ? "its token is lost then: delete it (gradwatch job delete --force) and submit it again"
          : "repeated with the same --job-id it cannot start a second time";
  return absl::Status(status.code(),
                      absl::StrCat(what, "; the job may be accepted all the same: see gradwatch job list; ", advice));
}

}  // namespace

CLI::App* AddSubmit(CLI::App& parent, SubmitOptions* options) {
  CLI::App* app = parent.add_subcommand("submit", "Send a job to the server");
  app->add_option("SPEC", options->spec, "File with the job: YAML, JSON or textproto")->required();
  app->add_option("--set", options->assignments, "A field of the spec, path=value; may be repeated")
      ->allow_extra_args(false)
      ->take_all();
  app->add_option("--name", options->name, "What people call the job");
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
      "Without --timeout the server has 5 minutes to check the spec and its data. When the time is up the job may be\n"
      "accepted all the same; with --job-id the same command cannot start a second one.");
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
  const absl::StatusOr<v1::Job> job = Create(request, session);
  if (absl::IsDeadlineExceeded(job.status()) || absl::IsCancelled(job.status())) {
    return Unanswered(job.status(), request);
  }
  if (!job.ok()) return job.status();
  if (options.dry_run) {
    PrintDryRun(*job, session);
    return ExitCode::kSuccess;
  }
  if (options.follow) {
    session.Note(absl::StrCat("job ", job->job_id(), " submitted"));
    if (job->spec().has_external()) TellToken(*job, session);
    NoteData(*job, session);
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
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
