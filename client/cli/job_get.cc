#include "client/cli/job_get.h"

#include "client/cli/job_text.h"

namespace gradwatch::cli {

CLI::App* AddJobGet(CLI::App& parent, JobGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print a job");
  app->add_option("JOB", options->job_id, "The job")->required();
  return app;
}

absl::StatusOr<ExitCode> RunJobGet(const JobGetOptions& options, Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  session.Print(*job, [&] { return JobText(*job, session.io().now(), session.io().time_zone); });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
