#include "client/cli/alerts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/option_types.h"
#include "client/cli/stream_notes.h"
#include "client/cli/text.h"
#include "client/cli/watch_printer.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxPage = 1000;

std::string AlertListText(const v1::ListAlertsResponse& response) {
  std::vector<std::vector<std::string>> rows = {{"JOB", "RULE", "SEVERITY", "STATE", "STEP", "TENSOR", "SUMMARY"}};
  for (const v1::Alert& alert : response.alerts()) {
    rows.push_back({alert.job_id(), alert.rule(), Word(alert.severity()), Word(alert.state()),
                    absl::StrCat(alert.step()), alert.tensor(), alert.summary()});
  }
  return TableText(rows);
}

std::string ResumeCommand(const AlertsWatchOptions& options) {
  std::string command = "gradwatch alerts watch";
  if (!options.job_id.empty()) absl::StrAppend(&command, " --job ", ShellQuoted(options.job_id));
  if (options.min_severity != v1::SEVERITY_UNSPECIFIED) {
    absl::StrAppend(&command, " --min-severity ", Word(options.min_severity));
  }
  return command;
}

}  // namespace

CLI::App* AddAlertsList(CLI::App& parent, AlertsListOptions* options) {
  CLI::App* app = parent.add_subcommand("list", "List alerts, newest first");
  app->add_option("--job", options->job_id, "Only alerts of this job");
  AddWordOption(*app, "--min-severity", options->min_severity,
                "Only alerts at least this bad: info, warning, critical");
  AddWordListOption(*app, "--state", options->states, "Only alerts in this state; may be repeated");
  app->add_option("--limit", options->limit, "Alerts at most")->check(WholePositive())->capture_default_str();
  return app;
}

CLI::App* AddAlertsWatch(CLI::App& parent, AlertsWatchOptions* options) {
  CLI::App* app = parent.add_subcommand("watch", "Print changes of alerts as they come");
  app->add_option("--job", options->job_id, "Only alerts of this job, which need not exist yet");
  AddWordOption(*app, "--min-severity", options->min_severity,
                "Only alerts at least this bad: info, warning, critical");
  auto* beginning = app->add_flag("--from-beginning", options->from_beginning, "With everything that is kept");
  app->add_option("--resume", options->resume_token, "Where an earlier stream with the same filters stopped")
      ->excludes(beginning);
  return app;
}

absl::StatusOr<ExitCode> RunAlertsList(const AlertsListOptions& options, Session& session) {
  v1::ListAlertsRequest request;
  request.set_job_id(options.job_id);
  request.set_min_severity(options.min_severity);
  for (const v1::AlertState state : options.states) request.add_states(state);
  v1::ListAlertsResponse all;
  do {
    request.set_page_size(std::min(options.limit - all.alerts_size(), kMaxPage));
    const auto page =
        session.connection().Call(session.connection().alerts(), &v1::AlertService::StubInterface::ListAlerts, request,
                                  client::Repeat::kWhenUnavailable);
    if (!page.ok()) return page.status();
    all.mutable_alerts()->MergeFrom(page->alerts());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && all.alerts_size() < options.limit);
  session.Print(all, [&] { return AlertListText(all); });
  if (!request.page_token().empty()) {
    session.Note(absl::StrCat("gradwatch: there are more than ", options.limit, " alerts; see --limit"));
  }
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunAlertsWatch(const AlertsWatchOptions& options, Session& session) {
  v1::WatchAlertsRequest request;
  request.set_job_id(options.job_id);
  request.set_min_severity(options.min_severity);
  if (options.from_beginning) request.set_from_beginning(true);
  if (!options.resume_token.empty()) request.set_resume_token(options.resume_token);
  StreamNotes notes(session);
  auto stream = client::WatchAlerts(session.connection(), request, notes.Options());
  std::string token;  // of the last message that was written as a whole
  while (true) {
    const auto response = stream->Next();
    absl::Status status = response.status();
    if (status.ok()) {
      if (!response->has_value()) return ExitCode::kSuccess;
      notes.OnMessage();
      for (const v1::Event& event : (*response)->events()) PrintEvent(session, event, /*with_job=*/true);
      status = session.CheckOutput();
    }
    if (!status.ok()) return notes.Fail(status, "detached; ", ResumeCommand(options), token);
    token = stream->resume_token();
  }
}

}  // namespace gradwatch::cli
