#include "server/job/supervisor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"
#include "server/job/last_words.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kSaveFiguresEvery = absl::Seconds(10);
constexpr absl::Duration kLongestTick = absl::Seconds(2);

// Whether `entry` is still in the given attempt.
bool IsCurrent(const JobEntry& entry, int32_t attempt) {
  return entry.working != nullptr && !entry.working->ended() && entry.working->row.job.attempt() == attempt;
}

bool IsActive(const JobEntry& entry) { return entry.working != nullptr && !entry.working->ended(); }

// Of an operation that may be undone: what it has left of the job is neither durable nor given up yet.
bool IsUndecided(const JobEntry& entry) { return entry.working != entry.published(); }

// The server went away before it knew the process, which could not attach before that.
bool WasCutShort(const JobRow& row) {
  const v1::JobState state = row.job.state();
  const bool began = (state != v1::JOB_STATE_PENDING && state != v1::JOB_STATE_STOPPING) || row.attach_token.empty();
  return !began && row.handle.empty() && !IsExternal(row);
}

constexpr char kHeardAgain[] = "the trainer is heard again";
constexpr char kServerAway[] = "the server was away";

std::string WholeSeconds(absl::Duration time) { return absl::FormatDuration(absl::Trunc(time, absl::Seconds(1))); }

std::string HowItEnded(const TrainerSlot& trainer) {
  if (trainer.not_started.has_value()) return absl::StrCat("could not be started: ", *trainer.not_started);
  const ProcessEnd end = trainer.process_end.value_or(ProcessEnd{.unknown = true, .last_output = {}});
  return end.unknown && !trainer.seen ? "ended while the server was away" : end.ToString();
}

// Whether a process that was to stop may have ended for that.
bool EndsLikeAStop(const TrainerSlot& trainer) {
  if (!trainer.process_end.has_value() || trainer.process_end->unknown) return true;
  return trainer.process_end->signal != 0 ? trainer.ended_in_stop : trainer.process_end->exit_code == 0;
}

}  // namespace

LaunchRequest LaunchRequestOf(const JobRow& row) {
  return {
      .job_id = row.job.job_id(), .uid = row.job.uid(), .attempt = row.job.attempt(), .attach_token = row.attach_token};
}

bool IsExternal(const JobRow& row) { return row.job.spec().has_external(); }

// --- Starting ---

std::shared_ptr<JobEntry> Supervisor::NextToStart() const {
  std::shared_ptr<JobEntry> next;
  int running = 0;
  for (const auto& entry : context_->table.Active()) {
    if (IsExternal(entry->working->row)) continue;  // it takes nothing of this machine
    if (!entry->working->waiting()) {
      ++running;
    } else if (next == nullptr) {
      next = entry;
    }
  }
  return running < context_->options.max_running_jobs ? next : nullptr;
}

void Supervisor::StartNext() {
  context_->SubmitQuietly("start of a job", [this](LedgerTransaction& transaction) {
    if (!context_->started || context_->draining) return absl::OkStatus();
    const auto entry = NextToStart();
    return entry == nullptr ? absl::OkStatus() : BeginAttempt(entry, transaction);
  });
}

void Supervisor::BeginTenure(JobEdit& edit) const {
  JobRow& row = edit.record().row;
  row.job.set_attempt(row.job.attempt() + 1);
  row.job.set_steps_done(0);
  row.job.set_non_finite_steps(0);
  row.job.clear_last_loss();
  row.job.clear_last_grad_norm();
  row.job.clear_last_non_finite();
  row.job.clear_last_validation();
  row.job.clear_last_validation_step();
  row.acked_notice = 0;
}

absl::Status Supervisor::BeginAttempt(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  BeginTenure(edit);
  JobRow& row = edit.record().row;
  row.attach_token = NewSecret();
  row.handle.clear();
  row.trainer_id.clear();
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish([this, entry](const JobRecord& record) {
    entry->trainer = TrainerSlot();
    Launch(entry, LaunchRequestOf(record.row));
    StartNext();
  });
  return absl::OkStatus();
}

void Supervisor::Launch(const std::shared_ptr<JobEntry>& entry, const LaunchRequest& request) {
  context_->RunOnExecutor([this, entry, request] {
    auto handle = context_->deps.launcher->Launch(request, EndCallback(entry, request.attempt));
    context_->SubmitQuietly("start of a trainer", [this, entry, attempt = request.attempt,
                                                   handle = std::move(handle)](LedgerTransaction& transaction) {
      return OnLaunched(entry, transaction, attempt, handle);
    });
  });
}

absl::Status Supervisor::OnLaunched(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                                    int32_t attempt, const absl::StatusOr<std::string>& handle) {
  if (!IsCurrent(*entry, attempt) && IsUndecided(*entry)) {
    context_->SubmitQuietly("start of a trainer", [this, entry, attempt, handle](LedgerTransaction& transaction) {
      return OnLaunched(entry, transaction, attempt, handle);
    });
    return absl::OkStatus();
  }
  if (!IsCurrent(*entry, attempt)) {
    if (!handle.ok()) return absl::OkStatus();
    context_->deps.launcher->Kill(*handle);
    if (entry->working != nullptr) return absl::OkStatus();
    // The job was deleted while its trainer was started: what it may have written by now goes too.
    context_->RunOnExecutor(
        [context = context_, uid = entry->uid, attempt] { context->deps.launcher->RemoveOutput(uid, attempt); });
    return absl::OkStatus();
  }
  if (!handle.ok()) {
    entry->trainer.not_started = std::string(handle.status().message());
    return Apply(entry, transaction, LeaseInput::kProcessEnded);
  }
  entry->trainer.handle = *handle;
  GW_RETURN_IF_ERROR(Apply(entry, transaction, LeaseInput::kLaunched));
  JobEdit edit(context_, entry, &transaction);  // with the handle, as all that follow if this one fails
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish();
  return absl::OkStatus();
}

bool Supervisor::IsBeingStarted(const JobEntry& entry) const {
  return !IsExternal(entry.working->row) && entry.trainer.lease.state == LeaseState::kNone &&
         entry.trainer.handle.empty();
}

absl::Status Supervisor::BeginRecovery(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  if (!IsActive(*entry)) return absl::OkStatus();
  TrainerSlot& trainer = entry->trainer;
  const JobRow& row = entry->working->row;
  trainer.recovers = true;
  if (WasCutShort(row)) return TellRecovery(entry, transaction);
  trainer.handle = row.handle;
  trainer.stream_end = kServerAway;
  Advance(entry, LeaseInput::kAdopted);
  AdoptTrainer(entry, row);  // whatever can be stored: a process that nobody watches can neither end nor be killed
  if (row.job.state() == v1::JOB_STATE_STOPPING) {
    const absl::Duration left = row.job.has_stop_deadline()
                                    ? core::FromTimestamp(row.job.stop_deadline()) - context_->deps.clock->Now()
                                    : context_->options.lease.grace;
    StopWithin(entry, std::max(left, absl::ZeroDuration()));
  }
  return TellRecovery(entry, transaction);
}

absl::Status Supervisor::TellRecovery(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  TrainerSlot& trainer = entry->trainer;
  if (!IsActive(*entry) || !trainer.recovers || HasStream(trainer.lease.state)) return absl::OkStatus();
  if (const JobRow& row = entry->working->row; WasCutShort(row) && row.job.state() == v1::JOB_STATE_STOPPING) {
    if (IsUndecided(*entry)) return absl::OkStatus();  // what follows is never undone, the stop may be: the next tick
    trainer.recovers = false;
    trainer.not_started = "the server went away before it was known";
    return Apply(entry, transaction, LeaseInput::kProcessEnded);
  }
  JobEdit edit(context_, entry, &transaction);
  JobRow& row = edit.record().row;
  if (WasCutShort(row)) row.attach_token.clear();  // a new attempt fences off what may be there
  if (edit.record().attached) edit.AppendDetached(kServerAway);
  if (MayFollow(row.job.state(), v1::JOB_STATE_RECOVERING)) edit.MoveTo(v1::JOB_STATE_RECOVERING, kServerAway);
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish([this, entry](const JobRecord& record) {
    entry->trainer.recovers = false;
    if (record.waiting()) StartNext();
  });
  return absl::OkStatus();
}

void Supervisor::AdoptTrainer(const std::shared_ptr<JobEntry>& entry, const JobRow& row) {
  if (row.handle.empty()) return;
  context_->RunOnExecutor([this, entry, handle = row.handle, request = LaunchRequestOf(row)] {
    context_->deps.launcher->Adopt(handle, request, EndCallback(entry, request.attempt));
    // One that was to be killed before the launcher knew it, or whose job was deleted, lives yet.
    context_->SubmitQuietly("adoption of a trainer", [this, entry, handle](LedgerTransaction&) {
      if (entry->published() == nullptr || entry->trainer.to_be_killed) context_->deps.launcher->Kill(handle);
      return absl::OkStatus();
    });
  });
}

// --- What happens to a lease ---

absl::Duration Supervisor::Watched() const {
  return watched_ + std::clamp(Now() - last_tick_, absl::ZeroDuration(), kLongestTick);
}

LeaseStep Supervisor::Advance(const std::shared_ptr<JobEntry>& entry, LeaseInput input) {
  Lease& lease = entry->trainer.lease;
  if (entry->working != nullptr && !entry->working->ended()) lease.external = IsExternal(entry->working->row);
  LeaseStep step = server::Advance(lease, input, Watched(), context_->options.lease);
  lease = step.lease;
  return step;
}

absl::Status Supervisor::Apply(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                               LeaseInput input) {
  if (!IsActive(*entry)) {
    if (IsUndecided(*entry)) ApplyLater(entry, input);
    return absl::OkStatus();
  }
  const LeaseStep step = Advance(entry, input);
  for (const LeaseAction action : step.actions) {
    if (IsDue(action, *entry, step.lease)) GW_RETURN_IF_ERROR(Do(action, entry, transaction));
  }
  return absl::OkStatus();
}

void Supervisor::ApplyLater(const std::shared_ptr<JobEntry>& entry, LeaseInput input) {
  context_->SubmitQuietly("a trainer's lease", [this, entry, input](LedgerTransaction& transaction) {
    // The end of a stream is no news once there is another one.
    if (input == LeaseInput::kStreamLost && entry->trainer.link != nullptr) return absl::OkStatus();
    return Apply(entry, transaction, input);
  });
}

bool Supervisor::Hear(JobEdit& edit) {
  const LeaseStep step = Advance(edit.entry(), LeaseInput::kHeard);
  const bool restores =
      std::find(step.actions.begin(), step.actions.end(), LeaseAction::kRestore) != step.actions.end() &&
      edit.job().state() == v1::JOB_STATE_RECOVERING;
  return restores && edit.MoveTo(edit.record().before_recovery, kHeardAgain);
}

absl::AnyInvocable<void(const ProcessEnd&)> Supervisor::EndCallback(const std::shared_ptr<JobEntry>& entry,
                                                                    int32_t attempt) {
  return [this, entry, attempt, work = context_->work](const ProcessEnd& end) {
    const auto token = work->Enter();
    if (token == nullptr) return;
    context_->AfterReports(entry, [this, entry, attempt, end] {
      context_->SubmitQuietly("end of a trainer", [this, entry, attempt, end](LedgerTransaction& transaction) {
        return OnProcessEnd(entry, transaction, attempt, end);
      });
    });
  };
}

absl::Status Supervisor::OnProcessEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                                      int32_t attempt, const ProcessEnd& end) {
  if (IsCurrent(*entry, attempt)) {
    entry->trainer.process_end = end;
    // No trainer hears of a stop before that is durable.
    const auto durable = entry->published();
    entry->trainer.ended_in_stop = durable != nullptr && durable->row.job.state() == v1::JOB_STATE_STOPPING;
    return Apply(entry, transaction, LeaseInput::kProcessEnded);
  }
  if (IsUndecided(*entry)) {
    context_->SubmitQuietly("end of a trainer", [this, entry, attempt, end](LedgerTransaction& transaction) {
      return OnProcessEnd(entry, transaction, attempt, end);
    });
  } else if (last_words_ != nullptr) {
    last_words_->Remove(entry->uid, attempt);  // nobody will hear what it may have left
  }
  return absl::OkStatus();
}

absl::Status Supervisor::OnStreamEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                                     const std::string& reason) {
  TrainerSlot& trainer = entry->trainer;
  trainer.link = nullptr;
  trainer.welcomed = false;
  trainer.claimant.clear();
  entry->intake.Close();
  // A server that goes down leaves its jobs as they are: the next one looks for their trainers.
  if (context_->draining) return absl::OkStatus();
  trainer.stream_end = reason;
  return Apply(entry, transaction, LeaseInput::kStreamLost);
}

void Supervisor::StopWithin(const std::shared_ptr<JobEntry>& entry, absl::Duration grace) {
  if (!IsActive(*entry)) return;
  Lease& lease = entry->trainer.lease;
  lease = server::Advance(lease, LeaseInput::kStop, Watched(), context_->options.lease, grace).lease;
  if (grace <= absl::ZeroDuration()) ApplyLater(entry, LeaseInput::kTick);
}

// --- What is done then ---

bool Supervisor::IsDue(LeaseAction action, const JobEntry& entry, const Lease& lease) {
  const v1::JobState state = entry.working->row.job.state();
  if (action == LeaseAction::kRestore) return state == v1::JOB_STATE_RECOVERING;
  if (action != LeaseAction::kRecovering) return true;
  const bool attached = entry.working->attached && !HasStream(lease.state);
  return attached || MayFollow(state, v1::JOB_STATE_RECOVERING);
}

absl::Status Supervisor::Do(LeaseAction action, const std::shared_ptr<JobEntry>& entry,
                            LedgerTransaction& transaction) {
  switch (action) {
    case LeaseAction::kRecovering:
      return MakeRecovering(entry, transaction);
    case LeaseAction::kRestore:
      return Restore(entry, transaction);
    case LeaseAction::kCloseStream:
      CloseStream(*entry);
      return absl::OkStatus();
    case LeaseAction::kKill:
      Kill(*entry);
      return absl::OkStatus();
    case LeaseAction::kHearLastWords:
      HearLastWords(entry);
      return absl::OkStatus();
    case LeaseAction::kConcludeLost:
      return ConcludeLost(entry, transaction);
    case LeaseAction::kConcludeAbsent:
      return ConcludeAbsent(entry, transaction);
    case LeaseAction::kConcludeStopped:
      return ConcludeStopped(entry, transaction);
    case LeaseAction::kAdmit:
    case LeaseAction::kFenceOld:
    case LeaseAction::kRefuseFenced:
    case LeaseAction::kRefuseLater:
      break;  // whoever let it knock answers
  }
  return absl::OkStatus();
}

absl::Status Supervisor::MakeRecovering(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  const TrainerSlot& trainer = entry->trainer;
  const bool silent = trainer.lease.state == LeaseState::kSilent;
  std::string reason = trainer.stream_end.value_or("the trainer's stream was lost");
  if (trainer.process_end.has_value()) reason = HowItEnded(trainer);
  if (silent) {
    reason = absl::StrCat("nothing was heard of the trainer for ", WholeSeconds(Watched() - trainer.lease.heard));
  }
  JobEdit edit(context_, entry, &transaction);
  if (edit.record().attached && !silent) edit.AppendDetached(reason);
  if (MayFollow(edit.job().state(), v1::JOB_STATE_RECOVERING)) edit.MoveTo(v1::JOB_STATE_RECOVERING, reason);
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish();
  return absl::OkStatus();
}

absl::Status Supervisor::Restore(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  edit.MoveTo(edit.record().before_recovery, kHeardAgain);
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish();
  return absl::OkStatus();
}

void Supervisor::CloseStream(JobEntry& entry) {
  TrainerSlot& trainer = entry.trainer;
  if (trainer.link != nullptr) {
    trainer.link->Close(trainer.lease.external
                            ? core::WithReason(absl::FailedPreconditionError("the job has ended without its trainer"),
                                               "INVALID_STATE_TRANSITION")
                            : absl::AbortedError("the trainer's process has ended"));
  }
  trainer.link = nullptr;
  trainer.welcomed = false;
  trainer.claimant.clear();
  entry.intake.Close();
}

void Supervisor::Kill(JobEntry& entry) {
  const std::string& handle = entry.trainer.handle;
  if (handle.empty()) return;
  entry.trainer.to_be_killed = true;
  spdlog::warn("job {}: its trainer is killed: {}", entry.job_id, handle);
  context_->deps.launcher->Kill(handle);
}

void Supervisor::HearLastWords(const std::shared_ptr<JobEntry>& entry) {
  // What they said is seen by what they left of the job.
  auto heard = [this, entry, work = context_->work](bool) {
    if (const auto token = work->Enter(); token != nullptr) ApplyLater(entry, LeaseInput::kWordsHeard);
  };
  const bool none = last_words_ == nullptr || entry->trainer.not_started.has_value();
  none ? heard(false) : last_words_->Hear(entry, entry->working->row.job.attempt(), std::move(heard));
}

// What becomes of a job does not rest on words of its trainer that are there and were not heard: that is told with it.
void Supervisor::TellUnheard(JobEdit& edit) {
  const std::string& why = edit.entry()->trainer.unheard_words;
  if (why.empty()) return;
  edit.AppendDataLoss(LastWords::LossOf(edit.job().attempt(), why));
}

absl::Status Supervisor::ConcludeLost(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  const TrainerSlot& trainer = entry->trainer;
  const std::string how = HowItEnded(trainer);
  JobEdit edit(context_, entry, &transaction);
  if (edit.record().attached) edit.AppendDetached(how);
  TellUnheard(edit);
  // One that is to stop and ends without a word has stopped, unless its exit code says otherwise.
  const bool stops = edit.job().state() == v1::JOB_STATE_STOPPING;
  edit.End(stops && EndsLikeAStop(trainer) ? v1::JOB_STATE_STOPPED : v1::JOB_STATE_FAILED,
           absl::StrCat("trainer ", how));
  return Conclude(edit);
}

absl::Status Supervisor::ConcludeAbsent(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  const v1::JobState state = edit.job().state();
  const std::string silence = WholeSeconds(Watched() - entry->trainer.lease.heard);
  const absl::string_view killed = entry->trainer.to_be_killed ? " and was killed" : "";
  if (edit.record().attached) edit.AppendDetached(absl::StrCat("silent for ", silence));
  TellUnheard(edit);
  if (state == v1::JOB_STATE_STOPPING) {
    edit.End(v1::JOB_STATE_STOPPED, absl::StrCat("the trainer was silent for ", silence, killed));
  } else if (state == v1::JOB_STATE_PENDING) {
    const LeaseTimes& times = context_->options.lease;
    const absl::Duration waited = IsExternal(edit.record().row) ? times.lost_after_external : times.lost_after;
    edit.End(v1::JOB_STATE_FAILED, absl::StrCat("the trainer did not attach within ", absl::FormatDuration(waited)));
  } else {
    edit.End(v1::JOB_STATE_FAILED, absl::StrCat("the trainer was silent for ", silence, killed));
  }
  return Conclude(edit);
}

absl::Status Supervisor::ConcludeStopped(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  const absl::string_view done = entry->trainer.to_be_killed ? "killed" : "let go";
  if (edit.record().attached) edit.AppendDetached(std::string(done));
  TellUnheard(edit);
  edit.End(v1::JOB_STATE_STOPPED, absl::StrCat("the trainer was ", done, " when its time to end was up"));
  return Conclude(edit);
}

absl::Status Supervisor::Conclude(JobEdit& edit) {
  GW_RETURN_IF_ERROR(edit.Write());
  const bool hosted = !IsExternal(edit.record().row);
  edit.Publish([this, entry = edit.entry(), hosted](const JobRecord& record) {
    Advance(entry, LeaseInput::kJobEnded);
    if (hosted && last_words_ != nullptr) last_words_->Remove(entry->uid, record.row.job.attempt());
    StartNext();
  });
  return absl::OkStatus();
}

// --- As time passes ---

void Supervisor::Tick() {
  if (context_->draining || tick_waits_.exchange(true)) return;
  context_->Submit<bool>(
      [this](LedgerTransaction&) -> absl::StatusOr<bool> {
        watched_ = Watched();
        last_tick_ = Now();
        const std::vector<std::shared_ptr<JobEntry>> active = context_->table.Active();
        saves_left_ = active.size() / 8 + 1;
        for (const auto& entry : active) LookAfter(entry);
        return true;
      },
      [this](const absl::StatusOr<bool>&) { tick_waits_ = false; });
  StartNext();  // again, if it could not be written when it was its turn
}

void Supervisor::LookAfter(const std::shared_ptr<JobEntry>& entry) {
  TrainerSlot& trainer = entry->trainer;
  if (trainer.lease.state == LeaseState::kNone && IsExternal(entry->working->row)) {
    Advance(entry, LeaseInput::kLaunched);
  }
  if (trainer.recovers) {
    context_->SubmitQuietly("recovery of a job",
                            [this, entry](LedgerTransaction& transaction) { return TellRecovery(entry, transaction); });
  }
  const auto heard = trainer.link == nullptr ? TrainerLink::Heard::kNothing : trainer.link->TakeHeard();
  if (heard != TrainerLink::Heard::kNothing) Advance(entry, LeaseInput::kHeard);  // what it restores, the tick does
  const LeaseStep step = server::Advance(trainer.lease, LeaseInput::kTick, Watched(), context_->options.lease);
  const bool due = std::any_of(step.actions.begin(), step.actions.end(),
                               [&](LeaseAction action) { return IsDue(action, *entry, step.lease); });
  if (due) {
    ApplyLater(entry, LeaseInput::kTick);
  } else {
    trainer.lease = step.lease;
  }
  stalls_.Look(entry, heard, Watched());
  KeepFigures(entry);
}

// Live figures go to the row now and then, so that little is read again after a restart; those of a few jobs in a tick:
// whole rows of all jobs in one commit would keep an alert waiting.
void Supervisor::KeepFigures(const std::shared_ptr<JobEntry>& entry) {
  const bool newer = ReportedSteps(*entry) > entry->working->row.job.steps_done();
  if (!newer || saves_left_ == 0 || Now() - entry->trainer.figures_saved < kSaveFiguresEvery) return;
  --saves_left_;
  entry->trainer.figures_saved = Now();
  context_->SubmitQuietly("figures of a job",
                          [this, entry](LedgerTransaction& transaction) { return SaveFigures(entry, transaction); });
}

absl::Status Supervisor::SaveFigures(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  if (!IsActive(*entry)) return absl::OkStatus();
  JobEdit edit(context_, entry, &transaction);
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish();
  return absl::OkStatus();
}

void Supervisor::SaveAllFigures() {
  context_->SubmitQuietly("figures of all jobs", [this](LedgerTransaction& transaction) {
    for (const auto& entry : context_->table.Active()) GW_RETURN_IF_ERROR(SaveFigures(entry, transaction));
    return absl::OkStatus();
  });
}

}  // namespace gradwatch::server
