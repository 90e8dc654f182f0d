#include "client/cli/job_wait.h"

#include "absl/strings/str_cat.h"
#include "client/cli/job_text.h"
#include "client/lib/enum_word.h"
#include "client/lib/job_state.h"
#include "client/lib/printable.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

// Reads events until the job has ended. NOT_FOUND if it is deleted meanwhile.
absl::Status AwaitEnd(const std::string& job_id, const Session& session) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_events_only(true);
  client::ResumeOptions options;
  options.deadline = session.Deadline();
  auto stream = client::WatchJob(session.connection(), request, options);
  while (true) {
    const auto response = stream->Next();
    if (!response.ok()) return response.status();
    if (!response->has_value()) return absl::OkStatus();
    const v1::WatchJobResponse& message = **response;
    if (message.has_started() && client::IsFinal(message.started().job().state())) return absl::OkStatus();
    for (const v1::Event& event : message.events()) {
      if (event.has_state_changed() && client::IsFinal(event.state_changed().to())) return absl::OkStatus();
    }
    if (message.ended().reason() == v1::WatchEnded::REASON_DELETED) {
      return absl::NotFoundError(absl::StrCat("job \"", job_id, "\" was deleted"));
    }
  }
}

}  // namespace

CLI::App* AddJobWait(CLI::App& parent, JobWaitOptions* options) {
  CLI::App* app = parent.add_subcommand("wait", "Wait until a job has ended");
  app->add_option("JOB", options->job_id, "The job")->required();
  app->footer(
      "Exit code: 0 the job succeeded, 1 it failed, 8 it was stopped, 5 it was deleted, 124 --timeout is over.");
  return app;
}

absl::StatusOr<ExitCode> RunJobWait(const JobWaitOptions& options, Session& session) {
  const absl::Status ended = AwaitEnd(options.job_id, session);
  if (!ended.ok()) return ended;
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  session.Print(*job, [&] {
    return absl::StrCat(job->job_id(), " ", client::Word(job->state()), " after ", job->steps_done(), " steps",
                        NonFiniteStepsText(*job), job->failure().empty() ? "" : ": ",
                        client::Printable(job->failure()));
  });
  return ExitCodeOf(job->state());
}

}  // namespace gradwatch::cli
