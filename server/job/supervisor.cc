#include "server/job/supervisor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

// How long the end of a process and the end of its stream may be apart: whichever comes first waits for the other, so
// that what the trainer said last is heard and the event says how it ended.
constexpr absl::Duration kLastWords = absl::Milliseconds(500);
constexpr absl::Duration kSaveFiguresEvery = absl::Seconds(10);

// Whether `entry` is still in the given attempt.
bool IsCurrent(const JobEntry& entry, int32_t attempt) {
  return entry.working != nullptr && !entry.working->ended() && entry.working->row.job.attempt() == attempt;
}

}  // namespace

LaunchRequest LaunchRequestOf(const JobRow& row) {
  return {
      .job_id = row.job.job_id(), .uid = row.job.uid(), .attempt = row.job.attempt(), .attach_token = row.attach_token};
}

std::shared_ptr<JobEntry> Supervisor::NextToStart() const {
  std::shared_ptr<JobEntry> next;
  int running = 0;
  for (const auto& entry : context_->table.Active()) {
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

absl::Status Supervisor::BeginAttempt(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  JobRow& row = edit.record().row;
  row.job.set_attempt(row.job.attempt() + 1);
  row.job.set_steps_done(0);
  row.job.set_non_finite_steps(0);
  row.attach_token = NewSecret();
  row.trainer_pid = 0;
  row.acked_notice = 0;
  GW_RETURN_IF_ERROR(edit.Write());
  entry->trainer = TrainerSlot();
  edit.Publish([this, entry](const JobRecord& record) {
    Launch(entry, LaunchRequestOf(record.row));
    StartNext();
  });
  return absl::OkStatus();
}

void Supervisor::Launch(const std::shared_ptr<JobEntry>& entry, const LaunchRequest& request) {
  context_->RunOnExecutor([this, entry, request] {
    auto pid = context_->deps.launcher->Launch(request, EndCallback(entry, request.attempt));
    context_->SubmitQuietly("start of a trainer", [this, entry, attempt = request.attempt,
                                                   pid = std::move(pid)](LedgerTransaction& transaction) {
      return OnLaunched(entry, transaction, attempt, pid);
    });
  });
}

absl::Status Supervisor::OnLaunched(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                                    int32_t attempt, const absl::StatusOr<int32_t>& pid) {
  if (!IsCurrent(*entry, attempt)) {
    if (!pid.ok()) return absl::OkStatus();
    context_->deps.launcher->Kill(*pid);
    if (entry->working != nullptr) return absl::OkStatus();
    // The job was deleted while its trainer was started: what it may have written by now goes too.
    context_->RunOnExecutor(
        [context = context_, uid = entry->uid, attempt] { context->deps.launcher->RemoveOutput(uid, attempt); });
    return absl::OkStatus();
  }
  JobEdit edit(context_, entry, &transaction);
  if (!pid.ok()) {
    edit.End(v1::JOB_STATE_FAILED, absl::StrCat("the trainer could not be started: ", pid.status().message()));
    return Conclude(edit);
  }
  edit.record().row.trainer_pid = *pid;
  GW_RETURN_IF_ERROR(edit.Write());
  if (entry->trainer.link == nullptr) entry->trainer.deadline = Now() + context_->options.reattach_window;
  edit.Publish();
  return absl::OkStatus();
}

absl::AnyInvocable<void(const ProcessEnd&)> Supervisor::EndCallback(const std::shared_ptr<JobEntry>& entry,
                                                                    int32_t attempt) {
  return [this, entry, attempt, work = context_->work](const ProcessEnd& end) {
    const auto token = work->Enter();
    if (token == nullptr) return;
    context_->AfterReports([this, entry, attempt, end] {
      context_->SubmitQuietly("end of a trainer", [this, entry, attempt, end](LedgerTransaction& transaction) {
        return OnProcessEnd(entry, transaction, attempt, end);
      });
    });
  };
}

absl::Status Supervisor::OnProcessEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                                      int32_t attempt, const ProcessEnd& end) {
  if (!IsCurrent(*entry, attempt)) return absl::OkStatus();
  entry->trainer.process_end = end;
  if (entry->trainer.link == nullptr) return ConcludeLost(entry, transaction);
  entry->trainer.deadline = Now() + kLastWords;
  return absl::OkStatus();
}

absl::Status Supervisor::OnStreamEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                                     const std::string& reason) {
  TrainerSlot& trainer = entry->trainer;
  trainer.link = nullptr;
  trainer.welcomed = false;
  entry->intake.Close();
  // A server that goes down leaves its jobs as they are: the next one looks for their trainers.
  if (entry->working == nullptr || entry->working->ended() || context_->draining) return absl::OkStatus();
  if (trainer.process_end.has_value()) return ConcludeLost(entry, transaction);
  trainer.stream_end = reason;
  trainer.deadline = Now() + kLastWords;
  return absl::OkStatus();
}

void Supervisor::Tick() {
  context_->SubmitQuietly("watch over trainers", [this](LedgerTransaction&) {
    for (const auto& entry : context_->table.Active()) {
      TrainerSlot& trainer = entry->trainer;
      const bool expected = trainer.link == nullptr && entry->working->row.trainer_pid != 0;
      if (expected && trainer.deadline == absl::InfiniteDuration()) {
        trainer.deadline = Now() + context_->options.reattach_window;
      }
      const bool newer = entry->intake.figures().steps_done > entry->working->row.job.steps_done();
      if (newer && Now() - trainer.figures_saved >= kSaveFiguresEvery) {
        trainer.figures_saved = Now();
        context_->SubmitQuietly("figures of a job", [this, entry](LedgerTransaction& transaction) {
          return SaveFigures(entry, transaction);
        });
      }
      if (trainer.deadline > Now()) continue;
      context_->SubmitQuietly("a trainer that is late",
                              [this, entry](LedgerTransaction& transaction) { return OnDeadline(entry, transaction); });
    }
    return absl::OkStatus();
  });
  StartNext();  // again, if it could not be written when it was its turn
}

absl::Status Supervisor::SaveFigures(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  if (entry->working == nullptr || entry->working->ended()) return absl::OkStatus();
  JobEdit edit(context_, entry, &transaction);
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish();
  return absl::OkStatus();
}

absl::Status Supervisor::OnDeadline(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  TrainerSlot& trainer = entry->trainer;
  if (entry->working == nullptr || entry->working->ended() || trainer.deadline > Now()) return absl::OkStatus();
  if (trainer.process_end.has_value()) {
    if (trainer.link != nullptr) trainer.link->Close(absl::AbortedError("the trainer's process has ended"));
    trainer.link = nullptr;
    entry->intake.Close();
    return ConcludeLost(entry, transaction);
  }
  trainer.deadline = absl::InfiniteDuration();
  if (trainer.link != nullptr) return absl::OkStatus();
  if (!trainer.stream_end.has_value()) return ConcludeAbsent(entry, transaction);
  JobEdit edit(context_, entry, &transaction);
  if (edit.record().attached) edit.AppendDetached(*trainer.stream_end);
  if (MayFollow(edit.job().state(), v1::JOB_STATE_RECOVERING)) {
    edit.MoveTo(v1::JOB_STATE_RECOVERING, *trainer.stream_end);
  }
  GW_RETURN_IF_ERROR(edit.Write());
  trainer.stream_end.reset();
  trainer.deadline = Now() + context_->options.reattach_window;
  edit.Publish();
  return absl::OkStatus();
}

absl::Status Supervisor::ConcludeLost(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  const ProcessEnd& end = *entry->trainer.process_end;
  const bool away = end.unknown && entry->trainer.trainer_id.empty();
  const std::string how = away ? "ended while the server was away" : end.ToString();
  JobEdit edit(context_, entry, &transaction);
  if (edit.record().attached) edit.AppendDetached(how);
  edit.End(v1::JOB_STATE_FAILED, absl::StrCat("trainer ", how));
  return Conclude(edit);
}

absl::Status Supervisor::ConcludeAbsent(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  const v1::JobState state = edit.job().state();
  const std::string window = absl::FormatDuration(context_->options.reattach_window);
  if (const int32_t pid = edit.record().row.trainer_pid; pid != 0) context_->deps.launcher->Kill(pid);
  if (state == v1::JOB_STATE_STOPPING) {
    edit.End(v1::JOB_STATE_STOPPED, absl::StrCat("the trainer was not there for ", window, " and was killed"));
  } else if (state == v1::JOB_STATE_PENDING) {
    edit.End(v1::JOB_STATE_FAILED, absl::StrCat("the trainer did not attach within ", window));
  } else {
    edit.End(v1::JOB_STATE_FAILED, absl::StrCat("the trainer did not come back within ", window));
  }
  return Conclude(edit);
}

absl::Status Supervisor::Conclude(JobEdit& edit) {
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish([this](const JobRecord&) { StartNext(); });
  return absl::OkStatus();
}

}  // namespace gradwatch::server
