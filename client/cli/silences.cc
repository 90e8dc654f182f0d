#include "client/cli/silences.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cli/option_types.h"
#include "client/cli/pages.h"
#include "client/cli/rules_help.h"
#include "client/cli/text.h"
#include "client/lib/decimal.h"
#include "client/lib/glob.h"
#include "client/lib/job_state.h"
#include "client/lib/printable.h"
#include "client/lib/text_form.h"
#include "client/lib/timestamp.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

using Stub = v1::AlertService::StubInterface;

// "90m", "2h", "1h30m", "7d".
absl::Duration ParseSpan(const std::string& text) {
  absl::Duration duration;
  absl::string_view days = text;
  std::optional<double> count;
  if (absl::ConsumeSuffix(&days, "d") && (count = client::ParseDecimal(days)).has_value()) {
    duration = absl::Hours(24 * *count);
  } else if (!absl::ParseDuration(text, &duration)) {
    duration = absl::ZeroDuration();
  }
  if (duration > absl::ZeroDuration() && duration < absl::InfiniteDuration()) return duration;
  throw CLI::ValidationError("--for", "\"" + text + "\" is not a time such as 90m, 2h or 7d");
}

google::protobuf::Timestamp ParseEnd(const std::string& text) {
  google::protobuf::Timestamp time;
  const absl::Status status = client::ParseTextForm(text, &time);
  if (status.ok()) return time;
  throw CLI::ValidationError("--until", std::string(status.message()));
}

std::string AllIfEmpty(const std::string& glob) { return glob.empty() ? "all" : glob; }

std::string LeftText(const v1::Silence& silence, absl::Time now) {
  return DurationText(std::max(client::FromTimestamp(silence.end_time()) - now, absl::ZeroDuration()));
}

// So many characters of an id are told where there are many; and that many must be given at least, so that a slip of
// the hand ends no silence.
constexpr size_t kShortId = 8;
constexpr size_t kFewestOfId = 4;

std::string SilenceListText(const v1::ListSilencesResponse& response, absl::Time now) {
  std::vector<std::vector<std::string>> rows = {
      {"SILENCE", "JOBS", "RULES", "TENSORS", "ENDS IN", "AUTHOR", "MADE", "COMMENT"}};
  for (const v1::Silence& silence : response.silences()) {
    rows.push_back({silence.silence_id().substr(0, kShortId), AllIfEmpty(silence.jobs()), AllIfEmpty(silence.rules()),
                    AllIfEmpty(silence.tensors()), LeftText(silence, now), silence.author(),
                    AgoText(silence.create_time(), now), silence.comment()});
  }
  return TableText(rows);
}

constexpr int kMaxJobs = 200;  // whose rules are read to find one of a name

bool MatchesRule(const std::string& glob, const v1::RuleSet& rules) {
  return std::any_of(rules.rules().begin(), rules.rules().end(),
                     [&](const v1::Rule& rule) { return client::GlobMatches(glob, rule.name()); });
}

// Whether it matches a rule that a preset has, or a name under which server and trainer tell alerts of their own.
absl::StatusOr<bool> MatchesKnownRule(const std::string& glob, const Session& session) {
  for (const char* name : {"stall", "alerts_truncated"}) {
    if (client::GlobMatches(glob, name)) return true;
  }
  for (const PresetLine& preset : KnownPresets()) {
    const absl::StatusOr<v1::RuleSet> rules = ReadPreset(preset.name, session);
    if (!rules.ok()) return rules.status();
    if (MatchesRule(glob, *rules)) return true;
  }
  return false;
}

// Whether it matches a rule of a job that has not ended, or may: there are more jobs than are looked at.
absl::StatusOr<bool> MatchesRuleOfJobs(const std::string& glob, const Session& session) {
  const auto jobs = ReadPages(session, session.connection().jobs(), &v1::JobService::StubInterface::ListJobs,
                              &v1::ListJobsResponse::mutable_jobs, v1::ListJobsRequest(), kMaxJobs);
  if (!jobs.ok()) return jobs.status();
  for (const v1::Job& job : jobs->jobs()) {
    if (client::IsFinal(job.state())) continue;
    v1::GetRulesRequest request;
    request.set_job_id(job.job_id());
    const absl::StatusOr<v1::RuleSet> rules = session.connection().Call(session.connection().alerts(), &Stub::GetRules,
                                                                        request, client::Repeat::kWhenUnavailable);
    if (!rules.ok()) return rules.status();
    if (MatchesRule(glob, *rules)) return true;
  }
  return !jobs->next_page_token().empty();
}

// Most likely it is mistyped. A hint: nothing where that cannot be found out. Returns whether it was given.
bool NoteIfNoRuleMatches(const std::string& glob, const Session& session) {
  if (glob.empty()) return false;
  for (const auto matches : {MatchesKnownRule, MatchesRuleOfJobs}) {
    const absl::StatusOr<bool> found = matches(glob, session);
    if (!found.ok() || *found) return false;
  }
  session.Note(absl::StrCat("gradwatch: no rule of any job or preset matches ", glob,
                            "; the silence is for rules that are still to come"));
  return true;
}

constexpr int kMaxAlerts = 1000;  // that are looked at

bool IsSilencedBy(const v1::Alert& alert, const std::string& silence_id) {
  return std::find(alert.silenced_by().begin(), alert.silenced_by().end(), silence_id) != alert.silenced_by().end();
}

// A silence may be for what is still to come, or be mistyped. A hint, as above.
void NoteIfNoAlertMatches(const v1::Silence& silence, const Session& session) {
  v1::ListAlertsRequest request;
  request.add_states(v1::ALERT_STATE_PENDING);
  request.add_states(v1::ALERT_STATE_FIRING);
  const auto open = ReadPages(session, session.connection().alerts(), &Stub::ListAlerts,
                              &v1::ListAlertsResponse::mutable_alerts, request, kMaxAlerts);
  if (!open.ok() || !open->next_page_token().empty()) return;
  const bool matches = std::any_of(open->alerts().begin(), open->alerts().end(),
                                   [&](const v1::Alert& alert) { return IsSilencedBy(alert, silence.silence_id()); });
  if (!matches) session.Note("gradwatch: it matches no alert at present; it is for those that are still to come");
}

// The silence that is meant by its id, or by the beginning of it. NOT_FOUND; INVALID_ARGUMENT: several begin so, or
// that is too little of one.
absl::StatusOr<std::string> FindSilence(const std::string& id, const Session& session) {
  constexpr int kAll = std::numeric_limits<int>::max();
  const auto all = ReadPages(session, session.connection().alerts(), &Stub::ListSilences,
                             &v1::ListSilencesResponse::mutable_silences, v1::ListSilencesRequest(), kAll);
  if (!all.ok()) return all.status();
  std::vector<std::string> found;
  for (const v1::Silence& silence : all->silences()) {
    if (silence.silence_id() == id) return id;
    if (absl::StartsWith(silence.silence_id(), id)) found.push_back(silence.silence_id());
  }
  if (found.empty()) return absl::NotFoundError(absl::StrCat("there is no silence \"", id, "\""));
  if (id.size() < kFewestOfId) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", id, "\" is too little of an id; give ", kFewestOfId, " characters of it at least"));
  }
  if (found.size() == 1) return found[0];
  return absl::InvalidArgumentError(
      absl::StrCat("\"", id, "\" is the beginning of ", found.size(), " silences: ", absl::StrJoin(found, ", ")));
}

}  // namespace

CLI::App* AddAlertsSilence(CLI::App& parent, AlertsSilenceOptions* options) {
  CLI::App* app = parent.add_subcommand("silence", "Mark alerts that match as silenced, for a time");
  app->add_option("--jobs", options->jobs, "Alerts of jobs that match this glob; unset: of all")->check(NotEmpty());
  app->add_option("--rules", options->rules, "Alerts of rules that match this glob; unset: of all")->check(NotEmpty());
  app->add_option("--tensors", options->tensors, "Alerts that name a tensor that matches this glob; unset: all alerts")
      ->check(NotEmpty());
  auto* end = app->add_option_group("end", "When it ends, at most a year from now");
  end->add_option_function<std::string>(
         "--for", [options](const std::string& text) { options->duration = ParseSpan(text); },
         "After this time: 90m, 2h, 7d")
      ->type_name("TIME");
  end->add_option_function<std::string>(
         "--until", [options](const std::string& text) { options->until = ParseEnd(text); },
         "At this time: 2026-01-31T12:00:00Z")
      ->type_name("TIME");
  end->require_option(1);
  app->add_option("--comment", options->comment, "Why")->required();
  app->footer(
      "Alerts that match are recorded, listed and streamed as ever. While it holds, \"alerts list\" and \"alerts get\" "
      "show\n"
      "those that have not ended as silenced, and \"watch\" and \"alerts watch\" those that begin to fire or change.\n"
      "\"alerts silences\" lists the silences that hold.");
  return app;
}

CLI::App* AddAlertsSilences(CLI::App& parent, AlertsSilencesOptions* options) {
  CLI::App* app = parent.add_subcommand("silences", "List the silences that hold, newest first");
  AddPageOptions(*app, "Silences at most", &options->limit, &options->page_token);
  return app;
}

CLI::App* AddAlertsUnsilence(CLI::App& parent, AlertsUnsilenceOptions* options) {
  CLI::App* app = parent.add_subcommand("unsilence", "End a silence");
  app->add_option("SILENCE", options->silence_id, "Its id, or the beginning that alerts silences prints")
      ->required()
      ->check(NotEmpty());
  return app;
}

absl::StatusOr<ExitCode> RunAlertsSilence(const AlertsSilenceOptions& options, Session& session) {
  v1::CreateSilenceRequest request;
  v1::Silence& silence = *request.mutable_silence();
  silence.set_jobs(options.jobs);
  silence.set_rules(options.rules);
  silence.set_tensors(options.tensors);
  silence.set_comment(options.comment);
  *silence.mutable_end_time() =
      options.until.has_value()
          ? *options.until
          : client::ToTimestamp(session.io().now() + options.duration.value_or(absl::ZeroDuration()));
  request.set_request_id(client::RandomUuid());
  const auto made = session.connection().Call(session.connection().alerts(), &Stub::CreateSilence, request,
                                              client::Repeat::kWhenUnavailable);
  if (!made.ok()) return made.status();
  const std::string text =
      absl::StrCat("silence ", client::Printable(made->silence_id()), " ends in ", LeftText(*made, session.io().now()));
  session.SetDone(text);
  session.Print(*made, [&] { return text; });
  if (!NoteIfNoRuleMatches(options.rules, session)) NoteIfNoAlertMatches(*made, session);
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunAlertsSilences(const AlertsSilencesOptions& options, Session& session) {
  v1::ListSilencesRequest request;
  request.set_page_token(options.page_token);
  const auto all = ReadPages(session, session.connection().alerts(), &Stub::ListSilences,
                             &v1::ListSilencesResponse::mutable_silences, request, options.limit);
  if (!all.ok()) return all.status();
  session.Print(*all, [&] { return SilenceListText(*all, session.io().now()); });
  NoteIfMore(session, *all, options.limit, "silences");
  return ExitCode::kSuccess;
}

// Ending a silence twice is NOT_FOUND, so a repetition after an answer that was lost would tell of a failure.
absl::StatusOr<ExitCode> RunAlertsUnsilence(const AlertsUnsilenceOptions& options, Session& session) {
  const absl::StatusOr<std::string> silence_id = FindSilence(options.silence_id, session);
  if (!silence_id.ok()) return silence_id.status();
  v1::DeleteSilenceRequest request;
  request.set_silence_id(*silence_id);
  const auto response =
      session.connection().Call(session.connection().alerts(), &Stub::DeleteSilence, request, client::Repeat::kNever);
  if (!response.ok()) return response.status();
  const std::string text = absl::StrCat("silence ", client::Printable(*silence_id), " ended");
  session.SetDone(text);
  session.Print(JsonObject().Add("silence", *silence_id).Add("state", "ended"), [&] { return text; });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
