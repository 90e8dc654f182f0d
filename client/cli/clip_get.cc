#include "client/cli/clip_get.h"

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"

namespace gradwatch::cli {

CLI::App* AddClipGet(CLI::App& parent, ClipGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print how gradients are limited");
  app->add_option("JOB", options->job_id, "The job")->required();
  return app;
}

absl::StatusOr<ExitCode> RunClipGet(const ClipGetOptions& options, Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  JsonObject object;
  object.Add("job", job->job_id()).Add("revision", job->control_revision());
  object.Add("applied_revision", job->applied_revision()).Add("etag", job->etag());
  object.Add("clip", JsonObject().AddFields(job->controls().clip()));
  session.Print(object, [&] {
    return absl::StrCat("clip: ", ClipText(job->controls().clip()), "\nrevision ", job->control_revision(),
                        ", the trainer uses revision ", job->applied_revision(), ", etag ", job->etag());
  });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
