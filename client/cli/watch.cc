#include "client/cli/watch.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "client/cli/event_text.h"
#include "client/cli/option_types.h"
#include "client/cli/stream_notes.h"
#include "client/cli/text.h"
#include "client/cli/watch_order.h"
#include "client/cli/watch_printer.h"
#include "client/lib/enum_word.h"
#include "client/lib/glob.h"
#include "client/lib/job_state.h"
#include "client/lib/printable.h"
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
  if (options.ranges) request.set_delivery(v1::WatchJobRequest::DELIVERY_CONFLATED);
  for (const std::string& glob : options.tensors) request.add_tensors(glob);
  request.set_events_only(options.events_only);
  return request;
}

// Whether the event tells that an alert that is bad enough has begun to fire.
bool FailsWatch(const v1::Event& event, v1::Severity limit) {
  const v1::Severity told = event.alert_changed().alert().severity();
  const v1::Severity severity = told == v1::SEVERITY_UNSPECIFIED ? v1::SEVERITY_WARNING : told;
  return limit != v1::SEVERITY_UNSPECIFIED && BeginsToFire(event) && severity >= limit;
}

// The last step that --until-step lets through.
absl::optional<int64_t> LastStep(const WatchOptions& options) {
  if (!options.until_step.has_value()) return absl::nullopt;
  return *options.until_step - *options.until_step % std::max<int64_t>(options.every, 1);
}

// What a watch that was left says in JSON.
const char* EndReason(const absl::Status& status) {
  if (absl::IsCancelled(status)) return "detached";
  return absl::IsDeadlineExceeded(status) ? "timeout" : "error";
}

// One run of the command: reads the stream, prints in the true order, and decides when to end.
class Watcher {
 public:
  Watcher(const WatchOptions& options, const Session& session)
      : options_(options),
        session_(session),
        request_(MakeRequest(options)),
        last_step_(LastStep(options)),
        order_(request_, last_step_.has_value()),
        printer_(session, options.job_id, !options.tensors.empty()),
        notes_(session, [this] { printer_.Clear(); }) {}

  absl::StatusOr<ExitCode> Run() {
    auto stream = client::WatchJob(session_.connection(), request_, notes_.Options());
    while (end_reason_.empty()) {
      auto response = stream->Next();
      if (!response.ok()) return Fail(response.status(), stream->resume_token());
      if (!response->has_value()) response->emplace().mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
      const bool all = Take(&**response);
      const absl::Status written = session_.CheckOutput();
      if (!written.ok()) return Fail(written, "");
      if (all && !order_.holds_back()) token_ = stream->resume_token();
      is_exact_ = all && !order_.holds_back();
    }
    return Finish();
  }

 private:
  // Returns whether everything was printed.
  bool Take(v1::WatchJobResponse* response) {
    notes_.OnMessage();
    if (response->has_started()) TakeStarted(response->started());
    const v1::WatchEnded::Reason ended = response->ended().reason();
    for (const WatchOrder::Item& item : order_.Take(response)) {
      if ((!end_reason_.empty() && !IsOfLastStep(item)) ||
          !std::visit([this](const auto& content) { return Print(content); }, item)) {
        return false;
      }
      printed_ = true;
    }
    if (response->has_ended() && end_reason_.empty()) {
      end_reason_ = ended == v1::WatchEnded::REASON_DELETED ? "deleted" : "terminal";
    }
    return true;
  }

  // Whether it is an alert of the last step that --until-step lets through: that stands behind its report.
  bool IsOfLastStep(const WatchOrder::Item& item) const {
    const auto* const event = std::get_if<v1::Event>(&item);
    if (end_reason_ != "until_step" || event == nullptr || !event->has_alert_changed()) return false;
    const v1::AlertChanged& changed = event->alert_changed();
    return !changed.acknowledgement() && event->attempt() == last_report_.first &&
           changed.alert().step() <= *last_step_;
  }

  void TakeStarted(const v1::WatchStarted& started) {
    const bool is_first = job_.job_id().empty();
    job_ = started.job();
    last_event_ = started.last_event();
    LearnTensors(started.job());
    if (is_first && request_.start_case() == v1::WatchJobRequest::START_NOT_SET) FailOnWhatFires();
  }

  // What began to fire before a watch that starts now is in none of its events.
  void FailOnWhatFires() {
    if (options_.fail_on_alert == v1::SEVERITY_UNSPECIFIED || job_.firing_alerts() == 0) return;
    v1::ListAlertsRequest request;
    request.set_job_id(options_.job_id);
    request.add_states(v1::ALERT_STATE_FIRING);
    request.set_min_severity(options_.fail_on_alert);
    request.set_page_size(1);
    const auto firing =
        session_.connection().Call(session_.connection().alerts(), &v1::AlertService::StubInterface::ListAlerts,
                                   request, client::Repeat::kWhenUnavailable);
    if (!firing.ok()) notes_.Note(absl::StrCat("what fires already could not be read: ", firing.status().message()));
    if (!firing.ok() || firing->alerts().empty()) return;
    const v1::Alert& alert = firing->alerts(0);
    notes_.Note(
        absl::StrCat(alert.rule(), " fires since step ", alert.first_step(), ": ", client::Printable(alert.summary())));
    end_reason_ = "alert";
  }

  // These print an item and say whether the watch ends with it; false: it ended before it.
  bool Print(const v1::Event& event) {
    printer_.Print(event);
    data_loss_ |= event.has_data_loss();
    if (last_event_ == 0 || event.number() > last_event_) {  // what is older is in the job's state already
      job_.set_attempt(std::max(job_.attempt(), event.attempt()));
      if (event.has_state_changed()) job_.set_state(event.state_changed().to());
    }
    if (FailsWatch(event, options_.fail_on_alert)) end_reason_ = "alert";
    return true;
  }

  bool Print(const v1::StepReport& report) {
    if (last_step_.has_value() && report.step() > *last_step_) {
      end_reason_ = "until_step";
      return false;
    }
    if (!printer_.knows_tensors() && (report.tensors_size() > 0 || !options_.tensors.empty())) AskForTensors();
    printer_.Print(report);
    last_report_ = {report.attempt(), report.step()};
    job_.set_attempt(std::max(job_.attempt(), report.attempt()));
    if (last_step_.has_value() && report.step() == *last_step_) end_reason_ = "until_step";
    return true;
  }

  bool Print(const v1::ConflatedPoint& point) {
    printer_.Print(point);
    last_report_ = {point.attempt(), point.last_step()};
    job_.set_attempt(std::max(job_.attempt(), point.attempt()));
    return true;
  }

  bool Print(const v1::StatisticsLost& lost) {
    if (last_step_.has_value() && lost.last_step() >= *last_step_) end_reason_ = "until_step";
    if (last_step_.has_value() && lost.first_step() > *last_step_) return false;
    printer_.Print(lost);
    steps_lost_ += lost.last_step() - lost.first_step() + 1;
    last_report_ = {lost.attempt(), lost.last_step()};
    return true;
  }

  // A job whose trainer had not attached when the stream began has its tensors since.
  void AskForTensors() {
    if (asked_) return;
    asked_ = true;
    if (const auto job = session_.GetJob(options_.job_id); job.ok()) LearnTensors(*job);
  }

  void LearnTensors(const v1::Job& job) {
    printer_.OnJob(job);
    if (job.tensors().empty()) return;
    for (const std::string& glob : options_.tensors) {
      const auto matches = [&glob](const v1::TensorInfo& tensor) { return client::GlobMatches(glob, tensor.name()); };
      if (std::any_of(job.tensors().begin(), job.tensors().end(), matches)) continue;
      notes_.Note(absl::StrCat("no tensor of ", options_.job_id, " matches --tensors ", ShellQuoted(glob), "; its ",
                               job.tensors_size(), " tensors begin with ", job.tensors(0).name()));
    }
  }

  absl::StatusOr<ExitCode> Finish() {
    printer_.PrintEnd(end_reason_, client::Word(job_.state()), token_);
    TellWhatIsLost();
    if (end_reason_ == "alert" || end_reason_ == "until_step") {
      if (end_reason_ == "alert" || HasNextStep()) notes_.Note(HowToGoOn());
      return end_reason_ == "alert" ? ExitCode::kAlert : ExitCode::kSuccess;
    }
    if (end_reason_ == "deleted") return absl::NotFoundError(absl::StrCat("job ", options_.job_id, " was deleted"));
    if (!printed_ && client::IsFinal(job_.state()) && session_.output() == Output::kTable) TellThatItHasEnded();
    return ExitCodeOf(job_.state());
  }

  // Whether a step may come after the last that was printed; the server refuses to begin with one that the job does
  // not have.
  bool HasNextStep() const {
    const auto [attempt, step] = last_report_;
    if (attempt < job_.attempt()) return true;
    if (client::IsFinal(job_.state())) return step + 1 < job_.steps_done();
    return job_.spec().steps() == 0 || step + 1 < job_.spec().steps();  // 0: its trainer alone knows
  }

  // The token of the last message of which all was printed repeats what came after it. Where that may be much the step
  // is the better place.
  std::string HowToGoOn() const {
    const auto [attempt, step] = last_report_;
    if (!is_exact_ && step >= 0 && attempt == job_.attempt() && HasNextStep()) {
      return absl::StrCat("again with: ", Command(), " --from-step ", step + 1);
    }
    return token_.empty() ? absl::StrCat("again with: ", Command(), " --from-beginning")
                          : ResumeText(Command(), token_);
  }

  // An empty answer would leave people wondering.
  void TellThatItHasEnded() const {
    session_.Note(absl::StrCat("gradwatch: job ", options_.job_id, " has ended (", client::Word(job_.state()),
                               "); --from-beginning prints what is kept"));
  }

  void TellWhatIsLost() {
    if (steps_lost_ > 0) notes_.Note(absl::StrCat("the statistics of ", steps_lost_, " steps are lost"));
    if (data_loss_) notes_.Note("a part of the job's history is lost; its events \"data_loss\" say which");
  }

  // `token` is that of the last message that came; what is held back of it is printed now, so that it holds. Not with
  // --until-step, after which it may lie.
  absl::Status Fail(const absl::Status& status, const std::string& token) {
    if (!last_step_.has_value()) {
      for (const WatchOrder::Item& item : order_.Flush()) {
        std::visit([this](const auto& content) { Print(content); }, item);
      }
      if (session_.CheckOutput().ok() && !token.empty()) token_ = token;
    }
    if (!token_.empty()) {
      printer_.PrintEnd(EndReason(status), client::Word(job_.state()), token_);
    }
    TellWhatIsLost();
    return notes_.Fail(status, "detached; the job goes on; ", Command(), token_);
  }

  // This watch with its filters, without its start.
  std::string Command() const {
    std::string command = absl::StrCat("gradwatch watch ", options_.job_id);
    if (options_.every > 0) absl::StrAppend(&command, " --every ", options_.every);
    if (options_.ranges) command += " --ranges";
    for (const std::string& glob : options_.tensors) absl::StrAppend(&command, " --tensors ", ShellQuoted(glob));
    if (options_.events_only) absl::StrAppend(&command, " --events-only");
    if (options_.fail_on_alert != v1::SEVERITY_UNSPECIFIED) {
      absl::StrAppend(&command, " --fail-on-alert ", client::Word(options_.fail_on_alert));
    }
    return command;
  }

  const WatchOptions& options_;
  const Session& session_;
  const v1::WatchJobRequest request_;
  const absl::optional<int64_t> last_step_;
  WatchOrder order_;
  WatchPrinter printer_;
  StreamNotes notes_;
  v1::Job job_;  // as the stream has told it
  int64_t last_event_ = 0;
  std::pair<int, int64_t> last_report_ = {0, -1};  // attempt and step
  int64_t steps_lost_ = 0;
  bool data_loss_ = false;
  bool asked_ = false;
  bool printed_ = false;
  std::string end_reason_;
  std::string token_;      // of the last message up to which everything was printed
  bool is_exact_ = false;  // nothing was printed that came after it
};

}  // namespace

CLI::App* AddWatch(CLI::App& parent, WatchOptions* options) {
  CLI::App* app = parent.add_subcommand("watch", "Print the events and statistics of a job as they come");
  app->add_option("JOB", options->job_id, "The job")->required();
  auto* start = app->add_option_group("start", "Where to start; unset: from now");
  start->add_flag("--from-beginning", options->from_beginning, "With everything that is kept");
  AddStepOption(*start, "--from-step", options->from_step, "With this step of the present attempt");
  start->add_option("--resume", options->resume_token, "Where an earlier stream with the same filters stopped")
      ->check(NotEmpty());
  start->require_option(0, 1);
  AddCountOption(*app, "--every", options->every, "Only steps that are a multiple of this");
  auto* tensors = app->add_option("--tensors", options->tensors, "Only tensors that match this glob; may be repeated");
  tensors->check(NotEmpty())->allow_extra_args(false)->take_all();
  auto* until =
      AddStepOption(*app, "--until-step", options->until_step, "Print nothing after this step; then end with success");
  auto* events = app->add_flag("--events-only", options->events_only, "Leave statistics out")->excludes(until);
  app->add_flag("--ranges", options->ranges,
                "Ranges of steps with the extremes of loss and norm, in JSON objects of type point, in the place of "
                "reports: of --every steps or more; wider where the stream is behind")
      ->excludes(tensors)
      ->excludes(until)
      ->excludes(events);
  AddWordOption(
      *app, "--fail-on-alert", options->fail_on_alert,
      "End with exit code 9 when an alert of at least this severity fires, or does when the watch starts now; "
      "also a silenced one");
  app->footer(
      "Exit code: 0 the job succeeded or --until-step was reached, 1 it failed, 8 it was stopped, 5 it was deleted,\n"
      "9 --fail-on-alert, 124 --timeout is over, 130 Ctrl-C. The job goes on whatever ends the watch.");
  return app;
}

absl::StatusOr<ExitCode> RunWatch(const WatchOptions& options, Session& session) {
  return Watcher(options, session).Run();
}

}  // namespace gradwatch::cli
