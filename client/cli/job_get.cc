#include "client/cli/job_get.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/job_text.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {

CLI::App* AddJobGet(CLI::App& parent, JobGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print a job");
  app->add_option("JOB", options->job_id, "The job")->required();
  return app;
}

namespace {

// What the newest alert about alerts that were counted, not told one by one, says first: "; 25 alerts were counted, not
// told". A hint.
std::string CountedText(const v1::Job& job, const Session& session) {
  if (job.fired_alerts() == 0) return "";
  v1::ListAlertsRequest request;
  request.set_job_id(job.job_id());
  request.add_rules("alerts_truncated");
  request.set_page_size(1);
  const auto found =
      session.connection().Call(session.connection().alerts(), &v1::AlertService::StubInterface::ListAlerts, request,
                                client::Repeat::kWhenUnavailable);
  if (!found.ok() || found->alerts().empty() || found->alerts(0).attempt() != job.attempt()) return "";
  const std::string& summary = found->alerts(0).summary();
  return absl::StrCat("; ", client::Printable(summary.substr(0, summary.find_first_of(":;"))));
}

}  // namespace

absl::StatusOr<ExitCode> RunJobGet(const JobGetOptions& options, Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  const bool is_for_people = session.output() == Output::kTable;
  const std::string counted = is_for_people ? CountedText(*job, session) : "";
  session.Print(*job, [&] { return JobText(*job, session.io().now(), session.io().time_zone, counted); });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
