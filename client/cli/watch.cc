#include "client/cli/watch.h"

#include "absl/strings/str_cat.h"
#include "client/cli/option_types.h"
#include "client/cli/stream_notes.h"
#include "client/cli/text.h"
#include "client/cli/watch_printer.h"
#include "client/cli/words.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

v1::WatchJobRequest MakeRequest(const WatchOptions& options) {
  v1::WatchJobRequest request;
  request.set_job_id(options.job_id);
  if (options.from_beginning) request.set_from_beginning(true);
  if (options.from_step.has_value()) request.set_from_step(*options.from_step);
  if (!options.resume_token.empty()) request.set_resume_token(options.resume_token);
  request.set_every_steps(options.every);
  for (const std::string& glob : options.tensors) request.add_tensors(glob);
  request.set_events_only(options.events_only);
  return request;
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_STOPPED;
}

bool IsBadEnough(const v1::Alert& alert, v1::Severity limit) {
  const v1::Severity severity = alert.severity() == v1::SEVERITY_UNSPECIFIED ? v1::SEVERITY_WARNING : alert.severity();
  return limit != v1::SEVERITY_UNSPECIFIED && alert.state() == v1::ALERT_STATE_FIRING && severity >= limit;
}

// One run of the command: reads the stream, prints, and decides when to end.
class Watcher {
 public:
  Watcher(const WatchOptions& options, const Session& session)
      : options_(options),
        session_(session),
        printer_(session, options.job_id, !options.tensors.empty()),
        notes_(session, [this] { printer_.Clear(); }) {}

  absl::StatusOr<ExitCode> Run() {
    auto stream = client::WatchJob(session_.connection(), MakeRequest(options_), notes_.Options());
    while (end_reason_.empty()) {
      const auto response = stream->Next();
      if (!response.ok()) return Fail(response.status());
      if (!response->has_value()) {
        end_reason_ = "terminal";
      } else {
        Take(**response);
      }
      const absl::Status written = session_.CheckOutput();
      if (!written.ok()) return Fail(written);
      token_ = stream->resume_token();
    }
    printer_.PrintEnd(end_reason_, Word(state_), token_);
    const bool goes_on = end_reason_ == "alert" || end_reason_ == "until_step";
    if (goes_on) notes_.TellHowToGoOn("", Command(), token_);
    if (!printed_ && IsFinal(state_) && session_.output() == Output::kTable) TellThatItHasEnded();
    return end_reason_ == "alert" ? ExitCode::kAlert : ExitCode::kSuccess;
  }

  v1::JobState state() const { return state_; }

 private:
  // An empty answer would leave people wondering.
  void TellThatItHasEnded() const {
    session_.Note(absl::StrCat("gradwatch: job ", options_.job_id, " has ended (", Word(state_),
                               "); --from-beginning prints what is kept"));
  }

  void Take(const v1::WatchJobResponse& response) {
    notes_.OnMessage();
    if (response.has_started()) {
      printer_.OnStarted(response.started());
      state_ = response.started().job().state();
    }
    printed_ |= response.lost_size() + response.events_size() + response.reports_size() > 0;
    for (const auto& lost : response.lost()) printer_.Print(lost);
    for (const auto& event : response.events()) TakeEvent(event);
    for (const auto& report : response.reports()) TakeReport(report);
    if (!response.has_ended()) return;
    const bool deleted = response.ended().reason() == v1::WatchEnded::REASON_DELETED;
    if (end_reason_.empty()) end_reason_ = deleted ? "deleted" : "terminal";
  }

  void TakeEvent(const v1::Event& event) {
    printer_.Print(event);
    if (event.has_state_changed()) state_ = event.state_changed().to();
    if (event.has_alert_changed() && IsBadEnough(event.alert_changed().alert(), options_.fail_on_alert)) {
      end_reason_ = "alert";
    }
  }

  void TakeReport(const v1::StepReport& report) {
    printer_.Print(report);
    if (options_.until_step.has_value() && report.step() >= *options_.until_step && end_reason_.empty()) {
      end_reason_ = "until_step";
    }
  }

  absl::Status Fail(const absl::Status& status) {
    if (!token_.empty()) printer_.PrintEnd(absl::IsCancelled(status) ? "detached" : "error", Word(state_), token_);
    return notes_.Fail(status, "detached; the job goes on; ", Command(), token_);
  }

  // This watch with its filters, without its start.
  std::string Command() const {
    std::string command = absl::StrCat("gradwatch watch ", options_.job_id);
    if (options_.every > 0) absl::StrAppend(&command, " --every ", options_.every);
    for (const std::string& glob : options_.tensors) absl::StrAppend(&command, " --tensors ", ShellQuoted(glob));
    if (options_.events_only) absl::StrAppend(&command, " --events-only");
    return command;
  }

  const WatchOptions& options_;
  const Session& session_;
  WatchPrinter printer_;
  StreamNotes notes_;
  v1::JobState state_ = v1::JOB_STATE_UNSPECIFIED;
  bool printed_ = false;
  std::string end_reason_;
  std::string token_;  // of the last message that was written as a whole
};

}  // namespace

CLI::App* AddWatch(CLI::App& parent, WatchOptions* options) {
  CLI::App* app = parent.add_subcommand("watch", "Print the events and statistics of a job as they come");
  app->add_option("JOB", options->job_id, "The job")->required();
  auto* start = app->add_option_group("start", "Where to start; unset: from now");
  start->add_flag("--from-beginning", options->from_beginning, "With everything that is kept");
  start->add_option("--from-step", options->from_step, "With this step of the present attempt");
  start->add_option("--resume", options->resume_token, "Where an earlier stream with the same filters stopped");
  start->require_option(0, 1);
  app->add_option("--every", options->every, "Only steps that are a multiple of this")->check(WholePositive());
  app->add_option("--tensors", options->tensors, "Only tensors that match this glob; may be repeated")
      ->allow_extra_args(false)
      ->take_all();
  auto* until = app->add_option("--until-step", options->until_step, "End when this step was reported");
  app->add_flag("--events-only", options->events_only, "Leave statistics out")->excludes(until);
  AddWordOption(*app, "--fail-on-alert", options->fail_on_alert,
                "End with exit code 9 when an alert of at least this severity fires");
  return app;
}

absl::StatusOr<ExitCode> RunWatch(const WatchOptions& options, Session& session) {
  return Watcher(options, session).Run();
}

absl::StatusOr<ExitCode> Follow(const WatchOptions& options, Session& session) {
  Watcher watcher(options, session);
  const absl::StatusOr<ExitCode> code = watcher.Run();
  if (!code.ok() || *code != ExitCode::kSuccess) return code;
  return ExitCodeOf(watcher.state());
}

}  // namespace gradwatch::cli
