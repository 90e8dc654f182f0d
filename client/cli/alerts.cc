#include "client/cli/alerts.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/event_text.h"
#include "client/cli/option_types.h"
#include "client/cli/pages.h"
#include "client/cli/rules.h"
#include "client/cli/rules_help.h"
#include "client/cli/stream_notes.h"
#include "client/cli/text.h"
#include "client/cli/watch_printer.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"
#include "client/lib/resuming_stream.h"
#include "client/lib/suggestion.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

using Stub = v1::AlertService::StubInterface;

// Ids begin with the uid of the job, a UUID, and a slash.
constexpr size_t kUidSize = 36;

// The id with the job's own id in the place of its uid: what people can read and type.
std::string ShortId(const v1::Alert& alert) {
  const size_t uid = alert.alert_id().find('/');
  return uid == kUidSize ? absl::StrCat(alert.job_id(), alert.alert_id().substr(uid)) : alert.alert_id();
}

// The id that a short one stands for; as it is where there is no such job. How it looks does not tell: the id of a job
// may be as long as a uid, or a UUID as well.
std::string FullId(const std::string& id, const Session& session) {
  const size_t job_id = id.find('/');
  if (job_id == std::string::npos) return id;
  const absl::StatusOr<v1::Job> job = session.GetJob(id.substr(0, job_id));
  return job.ok() ? absl::StrCat(job->uid(), id.substr(job_id)) : id;
}

// The id, which names job and rule, stands where every terminal shows it; the summary may be wider than one.
std::string AlertListText(const v1::ListAlertsResponse& response) {
  std::vector<std::vector<std::string>> rows = {{"ALERT", "SEVERITY", "STATE", "STEP", "TENSOR", "ACK", "SUMMARY"}};
  for (const v1::Alert& alert : response.alerts()) {
    rows.push_back({ShortId(alert), client::Word(alert.severity()), AlertStateText(alert), absl::StrCat(alert.step()),
                    alert.tensor().empty() ? "-" : alert.tensor(),
                    alert.has_acknowledge_time() ? alert.acknowledged_by() : "-", alert.summary()});
  }
  return TableText(rows);
}

// Of a job, or where none is given the default ones; with those of the server and of trainers.
absl::StatusOr<std::vector<std::string>> RuleNames(const std::string& job_id, const Session& session) {
  const absl::StatusOr<v1::RuleSet> rules =
      job_id.empty() ? ReadPreset(kDefaultPreset, session) : RulesInForce(job_id, session);
  if (!rules.ok()) return rules.status();
  std::vector<std::string> names = {"stall", "alerts_truncated"};
  for (const v1::Rule& rule : rules->rules()) names.push_back(rule.name());
  return names;
}

// Says where no alert of a rule was found because there is no such rule, as far as that can be known. A hint.
void NoteUnknownRules(const AlertsListOptions& options, const v1::ListAlertsResponse& found, const Session& session) {
  std::vector<std::string> missing = options.rules;
  missing.erase(std::remove_if(missing.begin(), missing.end(),
                               [&found](const std::string& name) {
                                 return absl::c_any_of(
                                     found.alerts(), [&name](const v1::Alert& alert) { return alert.rule() == name; });
                               }),
                missing.end());
  if (missing.empty()) return;
  const auto names = RuleNames(options.job_id, session);
  if (!names.ok()) return;
  for (const std::string& name : missing) {
    if (absl::c_linear_search(*names, name)) continue;
    const std::string quoted = absl::StrCat("\"", client::Printable(name), "\"");
    const std::string text = options.job_id.empty() ? absl::StrCat("no alert of a rule ", quoted,
                                                                   " is kept, and it is none of the default rules")
                                                    : absl::StrCat(options.job_id, " has no rule ", quoted);
    session.Note(absl::StrCat("gradwatch: ", text, client::Suggestion(name, *names)));
  }
}

std::string AcknowledgedText(const v1::Alert& alert, absl::Time now) {
  if (!alert.has_acknowledge_time()) return "-";
  const std::string comment =
      alert.acknowledge_comment().empty() ? "" : absl::StrCat(": ", alert.acknowledge_comment());
  return absl::StrCat("by ", alert.acknowledged_by(), ", ", AgoText(alert.acknowledge_time(), now), comment);
}

// Name and value, a line each.
std::string AlertText(const v1::Alert& alert, absl::Time now) {
  std::vector<std::vector<std::string>> rows = {{"alert", alert.alert_id()},
                                                {"job", alert.job_id()},
                                                {"attempt", absl::StrCat(alert.attempt())},
                                                {"rule", alert.rule()},
                                                {"severity", client::Word(alert.severity())},
                                                {"state", client::Word(alert.state())},
                                                {"tensor", alert.tensor().empty() ? "-" : alert.tensor()},
                                                {"first step", absl::StrCat(alert.first_step())},
                                                {"step", absl::StrCat(alert.step())},
                                                {"value", NumberText(alert.value())},
                                                {"limit", NumberText(alert.limit())},
                                                {"summary", alert.summary()}};
  for (const std::string& line : alert.diagnosis()) rows.push_back({"diagnosis", line});
  rows.push_back({"time", alert.has_time() ? AgoText(alert.time(), now) : "-"});
  rows.push_back({"acknowledged", AcknowledgedText(alert, now)});
  rows.push_back({"silenced by", alert.silenced_by().empty() ? "-" : absl::StrJoin(alert.silenced_by(), ", ")});
  return TableText(rows);
}

std::string ResumeCommand(const AlertsWatchOptions& options) {
  std::string command = "gradwatch alerts watch";
  if (!options.job_id.empty()) absl::StrAppend(&command, " --job ", ShellQuoted(options.job_id));
  if (options.min_severity != v1::SEVERITY_UNSPECIFIED) {
    absl::StrAppend(&command, " --min-severity ", client::Word(options.min_severity));
  }
  return command;
}

}  // namespace

CLI::App* AddAlertsList(CLI::App& parent, AlertsListOptions* options) {
  CLI::App* app = parent.add_subcommand("list", "List alerts, newest first");
  app->add_option("--job", options->job_id, "Only alerts of this job")->check(NotEmpty());
  AddWordOption(*app, "--min-severity", options->min_severity,
                "Only alerts at least this bad: info, warning, critical");
  AddWordListOption(*app, "--state", options->states, "Only alerts in this state; may be repeated");
  app->add_option("--rule", options->rules, "Only alerts of the rule of this name; may be repeated")
      ->allow_extra_args(false)
      ->check(NotEmpty());
  AddPageOptions(*app, "Alerts at most", &options->limit, &options->page_token);
  app->footer("What was pending and went away before it fired is not listed; watch tells it.");
  return app;
}

CLI::App* AddAlertsWatch(CLI::App& parent, AlertsWatchOptions* options) {
  CLI::App* app = parent.add_subcommand("watch", "Print changes of alerts as they come");
  app->add_option("--job", options->job_id, "Only alerts of this job, which need not exist yet")->check(NotEmpty());
  AddWordOption(*app, "--min-severity", options->min_severity,
                "Only alerts at least this bad: info, warning, critical");
  auto* beginning = app->add_flag("--from-beginning", options->from_beginning, "With everything that is kept");
  app->add_option("--resume", options->resume_token, "Where an earlier stream with the same filters stopped")
      ->check(NotEmpty())
      ->excludes(beginning);
  return app;
}

absl::StatusOr<ExitCode> RunAlertsList(const AlertsListOptions& options, Session& session) {
  v1::ListAlertsRequest request;
  request.set_job_id(options.job_id);
  request.set_min_severity(options.min_severity);
  for (const v1::AlertState state : options.states) request.add_states(state);
  request.mutable_rules()->Add(options.rules.begin(), options.rules.end());
  request.set_page_token(options.page_token);
  const auto all = ReadPages(session, session.connection().alerts(), &Stub::ListAlerts,
                             &v1::ListAlertsResponse::mutable_alerts, request, options.limit);
  if (!all.ok()) return all.status();
  if (all->alerts().empty() && !options.job_id.empty()) {
    if (const auto job = session.GetJob(options.job_id); absl::IsNotFound(job.status())) return job.status();
  }
  session.Print(*all, [&] { return AlertListText(*all); });
  if (options.page_token.empty()) NoteUnknownRules(options, *all, session);
  NoteIfMore(session, *all, options.limit, "alerts");
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
    if (absl::IsOutOfRange(status) && !token.empty()) {
      notes.OnOtherHistory();
      token.clear();
      request.set_from_beginning(true);
      stream = client::WatchAlerts(session.connection(), request, notes.Options());
      continue;
    }
    if (!status.ok()) return notes.Fail(status, "detached; ", ResumeCommand(options), token);
    token = stream->resume_token();
  }
}

CLI::App* AddAlertsGet(CLI::App& parent, AlertsGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print an alert");
  app->add_option("ALERT", options->alert_id, "Its id, as alerts list prints it")->required();
  return app;
}

CLI::App* AddAlertsAck(CLI::App& parent, AlertsAckOptions* options) {
  CLI::App* app = parent.add_subcommand("ack", "Say that somebody has seen an alert");
  app->add_option("ALERT", options->alert_id, "Its id, as alerts list prints it")->required();
  app->add_option("--comment", options->comment,
                  "What to write beside it, instead of an earlier comment; without --comment that stays");
  return app;
}

absl::StatusOr<ExitCode> RunAlertsGet(const AlertsGetOptions& options, Session& session) {
  v1::GetAlertRequest request;
  request.set_alert_id(FullId(options.alert_id, session));
  const auto alert = session.connection().Call(session.connection().alerts(), &Stub::GetAlert, request,
                                               client::Repeat::kWhenUnavailable);
  if (!alert.ok()) return alert.status();
  session.Print(*alert, [&] { return AlertText(*alert, session.io().now()); });
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunAlertsAck(const AlertsAckOptions& options, Session& session) {
  v1::AcknowledgeAlertRequest request;
  request.set_alert_id(FullId(options.alert_id, session));
  request.set_comment(options.comment);
  request.set_request_id(client::RandomUuid());
  const auto alert = session.connection().Call(session.connection().alerts(), &Stub::AcknowledgeAlert, request,
                                               client::Repeat::kWhenUnavailable);
  if (!alert.ok()) return alert.status();
  const std::string text =
      absl::StrCat(client::Printable(alert->rule()), " of ", alert->job_id(), " (", client::Word(alert->state()),
                   ") acknowledged by ", client::Printable(alert->acknowledged_by()));
  session.SetDone(text);
  session.Print(*alert, [&] { return text; });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
