#include "client/cli/job_update.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/event_text.h"
#include "client/cli/option_types.h"
#include "client/lib/printable.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxTries = 5;  // against others who change the same job at the same time

using Labels = google::protobuf::Map<std::string, std::string>;

// Applies "team=vision" or "team-".
absl::Status ChangeLabel(const std::string& change, Labels* labels) {
  if (absl::StrContains(change, '=')) {
    const std::pair<std::string, std::string> label = absl::StrSplit(change, absl::MaxSplits('=', 1));
    if (!label.first.empty()) (*labels)[label.first] = label.second;
    if (!label.first.empty()) return absl::OkStatus();
  } else if (change.size() > 1 && absl::EndsWith(change, "-")) {
    labels->erase(change.substr(0, change.size() - 1));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("--label: expected KEY=VALUE, or KEY- to remove it; found ", change));
}

// The labels and the retention as they are now with the changes, guarded by the etag with which they were read.
absl::Status ChangeWhatThereIs(const JobUpdateOptions& options, const Session& session, v1::UpdateJobRequest* request) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  if (options.if_etag.empty()) request->set_etag(job->etag());
  if (!options.retention.empty()) {
    *request->mutable_spec()->mutable_retention() = job->spec().retention();
    SetRetention(options.retention, request->mutable_spec()->mutable_retention());
  }
  if (options.labels.empty()) return absl::OkStatus();
  Labels* labels = request->mutable_spec()->mutable_labels();
  *labels = job->spec().labels();
  for (const std::string& change : options.labels) {
    if (absl::Status status = ChangeLabel(change, labels); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Job> SendOnce(const JobUpdateOptions& options, const Session& session) {
  v1::UpdateJobRequest request;
  request.set_job_id(options.job_id);
  request.set_etag(options.if_etag);
  request.set_request_id(client::RandomUuid());
  if (options.name.has_value()) {
    request.mutable_spec()->set_display_name(*options.name);
    request.mutable_update_mask()->add_paths("display_name");
  }
  if (!options.labels.empty()) request.mutable_update_mask()->add_paths("labels");
  if (options.keep_default || !options.retention.empty()) request.mutable_update_mask()->add_paths("retention");
  if (!options.labels.empty() || !options.retention.empty()) {
    if (absl::Status status = ChangeWhatThereIs(options, session, &request); !status.ok()) return status;
  }
  return session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::UpdateJob, request,
                                   client::Repeat::kWhenUnavailable);
}

}  // namespace

CLI::App* AddJobUpdate(CLI::App& parent, JobUpdateOptions* options) {
  CLI::App* app =
      parent.add_subcommand("update", "Change the name and the labels of a job, and how much is kept of it");
  app->add_option("JOB", options->job_id, "The job")->required();
  app->add_option("--name", options->name, "What people call the job; \"\": its id");
  app->add_option("--label", options->labels, "KEY=VALUE, or KEY- to remove it; may be repeated")
      ->allow_extra_args(false)
      ->take_all();
  AddRetentionOptions(*app, &options->retention);
  app->add_flag("--keep-default", options->keep_default, "Keep of it as much as the server keeps of every job")
      ->excludes("--keep-bytes")
      ->excludes("--keep-days");
  app->add_option("--if-etag", options->if_etag, "Only if the job's etag is still this one")->check(NotEmpty());
  return app;
}

absl::StatusOr<ExitCode> RunJobUpdate(const JobUpdateOptions& options, Session& session) {
  const bool keeps = options.keep_default || !options.retention.empty();
  if (!options.name.has_value() && options.labels.empty() && !keeps) {
    return absl::InvalidArgumentError("nothing to change: give --name, --label, --keep-bytes, --keep-days or --keep-default");
  }
  Labels unused;
  for (const std::string& change : options.labels) {  // before the server is asked
    if (absl::Status status = ChangeLabel(change, &unused); !status.ok()) return status;
  }
  absl::StatusOr<v1::Job> job;
  for (int tries = 1; tries == 1 || (absl::IsAborted(job.status()) && options.if_etag.empty() && tries <= kMaxTries);
       ++tries) {
    job = SendOnce(options, session);
  }
  if (!job.ok()) return job.status();
  std::string text = absl::StrCat(job->job_id(), ": name \"", client::Printable(job->spec().display_name()),
                                  "\", labels ", LabelsText(job->spec().labels()));
  if (keeps) absl::StrAppend(&text, ", kept: ", RetentionText(job->spec().retention()));
  session.SetDone(text);
  session.Print(*job, [&] { return text; });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
