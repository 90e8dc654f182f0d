#include "client/cli/job_change.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/option_types.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/job_state.h"
#include "client/lib/number_option.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

using Stub = v1::JobService::StubInterface;

CLI::App* AddChange(CLI::App& parent, std::string* job_id, const char* verb, const char* description) {
  CLI::App* app = parent.add_subcommand(verb, description);
  app->add_option("JOB", *job_id, "The job")->required();
  return app;
}

// "x stopping: stops by 14:03:05 at the latest; a stop can only be made sooner".
std::string StateText(const v1::Job& job, const Io& io) {
  std::string text = absl::StrCat(job.job_id(), " ", client::Word(job.state()));
  if (client::IsFinal(job.state())) {
    text = absl::StrCat(job.job_id(), " has ended: ", client::Word(job.state()));
    return job.failure().empty() ? text : absl::StrCat(text, ": ", job.failure());
  }
  if (job.state() != v1::JOB_STATE_STOPPING || !job.has_stop_deadline()) return text;
  return absl::StrCat(text, ": stops by ", ClockText(job.stop_deadline(), io.now(), io.time_zone),
                      " at the latest; a stop can only be made sooner");
}

template <typename Request>
absl::StatusOr<ExitCode> Change(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, v1::Job*),
                                Request request, Session& session) {
  request.set_request_id(client::RandomUuid());
  const absl::StatusOr<v1::Job> job =
      session.connection().Call(session.connection().jobs(), method, request, client::Repeat::kWhenUnavailable);
  if (!job.ok()) return job.status();
  const std::string text = StateText(*job, session.io());
  session.SetDone(text);
  session.Print(*job, [&] { return text; });
  return ExitCode::kSuccess;
}

}  // namespace

CLI::App* AddJobPause(CLI::App& parent, JobChangeOptions* options) {
  return AddChange(parent, &options->job_id, "pause", "Ask a job to wait between two steps");
}

CLI::App* AddJobResume(CLI::App& parent, JobChangeOptions* options) {
  return AddChange(parent, &options->job_id, "resume", "Ask a paused job to go on");
}

CLI::App* AddJobStop(CLI::App& parent, JobStopOptions* options) {
  CLI::App* app = AddChange(parent, &options->job_id, "stop", "Ask a job to end");
  CLI::Option* const grace = client::AddSecondsOption(
      *app, "--grace", options->grace_seconds,
      "Seconds for its trainer to end by itself, then it is killed, or let go if it is a foreign program "
      "(default: 60; at most 86400); of several stops the one that ends it first counts",
      86'400);
  app->add_flag("--now", options->now, "Do not wait for its trainer to end by itself: --grace 0")->excludes(grace);
  return app;
}

CLI::App* AddJobDelete(CLI::App& parent, JobDeleteOptions* options) {
  CLI::App* app = parent.add_subcommand("delete", "Remove a job that has ended, with its history");
  app->add_option("JOB", options->job_id, "The job")->required();
  app->add_flag("--force", options->force, "Stop it first if it has not ended");
  app->add_flag("--allow-missing", options->allow_missing, "A job that is not there counts as deleted");
  app->add_option("--if-etag", options->if_etag, "Only if the job's etag is still this one")->check(NotEmpty());
  app->add_option("--if-uid", options->if_uid, "Only if the job's uid is this one, not another job of the same id")
      ->check(NotEmpty());
  return app;
}

absl::StatusOr<ExitCode> RunJobPause(const JobChangeOptions& options, Session& session) {
  v1::PauseJobRequest request;
  request.set_job_id(options.job_id);
  return Change(&Stub::PauseJob, std::move(request), session);
}

absl::StatusOr<ExitCode> RunJobResume(const JobChangeOptions& options, Session& session) {
  v1::ResumeJobRequest request;
  request.set_job_id(options.job_id);
  return Change(&Stub::ResumeJob, std::move(request), session);
}

absl::StatusOr<ExitCode> RunJobStop(const JobStopOptions& options, Session& session) {
  v1::StopJobRequest request;
  request.set_job_id(options.job_id);
  if (options.now) request.set_grace_seconds(0);
  if (options.grace_seconds.has_value()) request.set_grace_seconds(*options.grace_seconds);
  return Change(&Stub::StopJob, std::move(request), session);
}

absl::StatusOr<ExitCode> RunJobDelete(const JobDeleteOptions& options, Session& session) {
  v1::DeleteJobRequest request;
  request.set_job_id(options.job_id);
  request.set_force(options.force);
  request.set_allow_missing(options.allow_missing);
  request.set_etag(options.if_etag);
  request.set_uid(options.if_uid);
  request.set_request_id(client::RandomUuid());
  const auto response = session.connection().Call(session.connection().jobs(), &Stub::DeleteJob, request,
                                                  client::Repeat::kWhenUnavailable);
  if (!response.ok()) return response.status();
  const std::string text = absl::StrCat(options.job_id, " deleted");
  session.SetDone(text);
  session.Print(JsonObject().Add("job", options.job_id).Add("state", "deleted"), [&] { return text; });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
