#include "client/worker/attachment.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/lib/grpc_status.h"
#include "client/lib/printable.h"
#include "core/base/thread_name.h"
#include "core/spec/controls.h"

namespace gradwatch::worker {
namespace {

using core::LiveControls;

// Whether the server said that this trainer must not come back; anything else may pass.
bool IsFinal(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return true;
    default:
      return false;
  }
}

void Command(v1::TrainerCommand::Action action, LiveControls* controls) {
  switch (action) {
    case v1::TrainerCommand::ACTION_PAUSE:
      return controls->SetCommand(LiveControls::Command::kPause);
    case v1::TrainerCommand::ACTION_RESUME:
      return controls->SetCommand(LiveControls::Command::kRun);
    case v1::TrainerCommand::ACTION_STOP:
      return controls->SetCommand(LiveControls::Command::kStop);
    default:
      spdlog::warn("the server asks for {}, which this trainer does not do", v1::TrainerCommand::Action_Name(action));
  }
}

core::ControlSnapshot Snapshot(int64_t revision, const v1::Controls& controls) {
  return {.revision = revision, .controls = core::ResolveControls(controls)};
}

// What the run starts with: the controls in force. The edits that wait come after the welcome.
core::ControlSnapshot InitialControls(const v1::TrainerWelcome& welcome) {
  if (!welcome.has_controls()) return Snapshot(1, welcome.spec().controls());
  return Snapshot(welcome.controls().revision(), welcome.controls().controls());
}

core::ControlEdit ToEdit(const v1::ControlEdit& edit) {
  return {.edit = edit.edit(),
          .values = edit.values(),
          .paths = {edit.paths().begin(), edit.paths().end()},
          .at_step = edit.has_at_step() ? std::optional(edit.at_step()) : std::nullopt};
}

}  // namespace

Attachment::Attachment(std::shared_ptr<grpc::Channel> channel, v1::TrainerHello hello, const AttachmentOptions& options,
                       const core::Clock* clock)
    : stub_(v1::TrainerService::NewStub(channel)),
      options_(options),
      clock_(clock),
      outbox_(&notices_),
      hello_(std::move(hello)),
      backoff_(options.min_backoff, options.max_backoff),
      last_heard_(clock->Monotonic()),
      last_sent_(last_heard_),
      thread_([this] { Run(); }) {}

Attachment::~Attachment() {
  if (thread_.joinable()) End({.last_words = "", .max_wait = absl::ZeroDuration()}).IgnoreError();
}

absl::StatusOr<v1::TrainerWelcome> Attachment::AwaitWelcome() {
  absl::MutexLock lock(&mutex_);
  const auto is_decided = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return welcome_.has_value() || end_.has_value(); };
  mutex_.Await(absl::Condition(&is_decided));
  if (welcome_.has_value()) return *welcome_;
  return *end_;
}

void Attachment::Notify(v1::Notice notice) {
  notices_.Add(std::move(notice));
  events_.Wake();
}

void Attachment::RequestStop() {
  stop_requested_.store(true);
  events_.Wake();
}

absl::Status Attachment::Close(const std::string& last_words) {
  return End({.last_words = last_words, .max_wait = options_.max_wait});
}

absl::Status Attachment::End(Farewell farewell) {
  {
    absl::MutexLock lock(&mutex_);
    farewell_ = std::move(farewell);
  }
  events_.Wake();
  thread_.join();
  if (notices_.AllAcknowledged()) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  return *end_;
}

void Attachment::Run() {
  core::NameThisThread("attach");
  const absl::Status end = RunUntilEnd();
  if (!end.ok() && controls_ != nullptr) controls_->SetCommand(LiveControls::Command::kStop);
  absl::MutexLock lock(&mutex_);
  end_ = end;
}

absl::Status Attachment::RunUntilEnd() {
  while (true) {
    const grpc::Status status = RunStream();
    // First: who is not wanted any more leaves no last words.
    if (!decided_.has_value() && IsFinal(status.error_code())) return client::ToAbslStatus(status);
    if (CheckEnd().has_value()) return *decided_;
    if (is_welcome_) {
      spdlog::warn("lost the server ({}); training goes on", client::Printable(status.error_message()));
    }
    WaitToTryAgain();
  }
}

grpc::Status Attachment::RunStream() {
  is_welcome_ = false;
  const absl::Duration start = clock_->Monotonic();
  last_sent_ = start;
  AttachStream stream(stub_.get(), &events_, hello_);
  while (!CheckEnd().has_value()) {
    if (CheckSilence(start)) {
      stream.Close();
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server was silent for too long");
    }
    if (is_welcome_ && stream.can_write()) Send(stream);
    const AttachStream::Event event = stream.Wait(options_.report_period);
    if (event == AttachStream::Event::kDirective) Obey(stream.directive());
    if (event == AttachStream::Event::kEnded) break;
  }
  return stream.Close();
}

void Attachment::Send(AttachStream& stream) {
  const absl::Duration now = clock_->Monotonic();
  // Reports go out in batches: one message a step would cost the machine more than the steps of a small network.
  const auto urgency = now - last_batch_ < options_.report_period ? Outbox::Urgency::kCanWait : Outbox::Urgency::kNow;
  if (!outbox_.Next(urgency, &message_)) {
    if (now - last_sent_ < options_.heartbeat) return;
    message_.mutable_heartbeat();
  }
  last_sent_ = now;
  if (message_.has_reports()) last_batch_ = now;
  stream.Write(message_);
}

void Attachment::Obey(const v1::TrainerDirective& directive) {
  last_heard_ = clock_->Monotonic();
  if (directive.has_welcome()) return Welcome(directive.welcome());
  if (!is_welcome_) return;  // nothing means anything before the welcome
  if (directive.has_edits()) {
    Take(directive.edits());
  } else {
    edits_to_come_ = 0;  // they come first
  }
  LetBegin();
  if (directive.has_command()) Command(directive.command().action(), controls_.get());
  if (directive.has_ack()) outbox_.Acknowledge(directive.ack());
}

void Attachment::Welcome(const v1::TrainerWelcome& welcome) {
  is_welcome_ = true;
  backoff_.Reset();
  outbox_.Begin(welcome);
  hello_.set_attempt(welcome.attempt());
  const bool is_first = controls_ == nullptr;
  // Afterwards the run knows better: what it has applied may not have been told yet.
  if (is_first) {
    controls_ = std::make_unique<LiveControls>(InitialControls(welcome));
    first_welcome_ = welcome;
  }
  // Commands that were given while the stream was broken are told by the welcome, and only there.
  Command(welcome.has_command() ? welcome.command().action() : v1::TrainerCommand::ACTION_RESUME, controls_.get());
  spdlog::info("{} to job {}, attempt {}", is_first ? "attached" : "attached again", hello_.job_id(),
               welcome.attempt());
  edits_to_come_ = welcome.waiting_edits();
  LetBegin();
}

void Attachment::Take(const v1::EditBatch& batch) {
  for (const v1::ControlEdit& edit : batch.edits()) controls_->Add(ToEdit(edit));
  for (const int64_t edit : batch.withdrawn()) controls_->Withdraw(edit);
  edits_to_come_ -= batch.edits_size();
}

void Attachment::LetBegin() {
  if (edits_to_come_ > 0 || has_begun_) return;
  has_begun_ = true;
  absl::MutexLock lock(&mutex_);
  welcome_ = first_welcome_;
}

void Attachment::WaitToTryAgain() {
  const absl::Duration end = clock_->Monotonic() + backoff_.Next();
  while (clock_->Monotonic() < end && !CheckEnd().has_value()) {
    events_.Next(std::clamp(end - clock_->Monotonic(), absl::Milliseconds(1), options_.report_period));
  }
}

const std::optional<absl::Status>& Attachment::CheckEnd() {
  if (!decided_.has_value()) decided_ = Decide();
  return decided_;
}

std::optional<absl::Status> Attachment::Decide() {
  if (stop_requested_.load()) {
    if (controls_ == nullptr) return absl::CancelledError("stopped before the server answered");
    controls_->SetCommand(LiveControls::Command::kStop);
    edits_to_come_ = 0;  // no step will use them
    LetBegin();
  }
  if (clock_->Monotonic() - last_heard_ >= options_.max_wait) {
    if (!has_begun_) {
      return absl::UnavailableError(absl::StrCat("no server for ", absl::FormatDuration(options_.max_wait)));
    }
    LeavePause();
  }
  std::optional<Farewell> farewell;
  {
    absl::MutexLock lock(&mutex_);
    farewell = farewell_;
  }
  if (!farewell.has_value()) return std::nullopt;
  return CheckFarewell(*farewell);
}

void Attachment::LeavePause() {
  if (controls_->command() != LiveControls::Command::kPause) return;
  spdlog::error("no server for {}, and nobody else ends the pause: the run is stopped",
                absl::FormatDuration(options_.max_wait));
  controls_->SetCommand(LiveControls::Command::kStop);
}

std::optional<absl::Status> Attachment::CheckFarewell(const Farewell& farewell) {
  if (outbox_.AllAcknowledged()) return absl::OkStatus();
  const absl::Duration now = clock_->Monotonic();
  const bool begins = !farewell_since_.has_value();
  if (begins) farewell_since_ = now;
  if (begins || outbox_.progress() > progress_) {
    progress_ = outbox_.progress();
    last_progress_ = now;
  }
  const bool has_file = !farewell.last_words.empty() && farewell.max_wait > absl::ZeroDuration();
  const bool is_time = now - last_progress_ >= options_.patience && now >= next_file_;
  if (has_file && is_time && LeaveLastWords(farewell.last_words)) return absl::OkStatus();
  if (now - *farewell_since_ < farewell.max_wait) return std::nullopt;
  return absl::DeadlineExceededError("the server did not acknowledge everything in time");
}

bool Attachment::LeaveLastWords(const std::string& path) {
  if (!words_.has_value()) words_.emplace(&notices_, &outbox_);
  const absl::Status status = words_->Leave(path, hello_);
  if (status.ok()) {
    spdlog::warn("the server takes nothing; what it does not know is left in {}", client::Printable(path));
    return true;
  }
  if (next_file_ == -absl::InfiniteDuration()) {  // once: it may be tried for a day
    spdlog::error("what the server does not know cannot be left ({}); tried again, as the server is",
                  client::Printable(status.message()));
  }
  next_file_ = clock_->Monotonic() + options_.retry_file;
  return false;
}

bool Attachment::CheckSilence(absl::Duration since) const {
  return clock_->Monotonic() - std::max(since, last_heard_) >= options_.max_silence;
}

}  // namespace gradwatch::worker
