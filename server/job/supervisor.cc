#include "server/job/supervisor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"
#include "server/store/report_codec.h"

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

// Of the reports since figures were saved.
constexpr size_t kReadAtOnce = size_t{4} << 20;
constexpr int64_t kMostReadAgain = int64_t{128} << 20;

}  // namespace

LaunchRequest LaunchRequestOf(const JobRow& row) {
  return {
      .job_id = row.job.job_id(), .uid = row.job.uid(), .attempt = row.job.attempt(), .attach_token = row.attach_token};
}

std::shared_ptr<JobEntry> Supervisor::NextToStart() const {
  std::shared_ptr<JobEntry> next;
  int running = 0;
  for (const auto& entry : context_->table.Active()) {
    if (entry->working->external()) continue;  // it takes nothing of this machine
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
    context_->AfterReports(entry, [this, entry, attempt, end] {
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
  if (entry->trainer.link == nullptr) return HearLost(entry);
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
  if (trainer.process_end.has_value()) return HearLost(entry);
  trainer.stream_end = reason;
  trainer.deadline = Now() + kLastWords;
  return absl::OkStatus();
}

void Supervisor::Tick() {
  context_->SubmitQuietly("watch over trainers", [this](LedgerTransaction&) {
    const std::vector<std::shared_ptr<JobEntry>> active = context_->table.Active();
    // A few in each tick: whole rows of all jobs in one commit would keep an alert waiting.
    size_t saves = active.size() / 8 + 1;
    for (const auto& entry : active) {
      TrainerSlot& trainer = entry->trainer;
      const bool expected = trainer.link == nullptr && entry->working->row.trainer_pid != 0;
      if (expected && trainer.deadline == absl::InfiniteDuration()) {
        trainer.deadline = Now() + context_->options.reattach_window;
      }
      const bool newer = entry->intake.figures().steps_done > entry->working->row.job.steps_done();
      if (newer && saves > 0 && Now() - trainer.figures_saved >= kSaveFiguresEvery) {
        --saves;
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
  last_words_.Tick();
  StartNext();  // again, if it could not be written when it was its turn
}

absl::Status Supervisor::SaveFigures(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  if (entry->working == nullptr || entry->working->ended()) return absl::OkStatus();
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

absl::Status Supervisor::OnDeadline(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  TrainerSlot& trainer = entry->trainer;
  if (entry->working == nullptr || entry->working->ended() || trainer.deadline > Now()) return absl::OkStatus();
  if (trainer.process_end.has_value()) {
    if (trainer.link != nullptr) trainer.link->Close(absl::AbortedError("the trainer's process has ended"));
    trainer.link = nullptr;
    entry->intake.Close();
    return HearLost(entry);
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

absl::Status Supervisor::HearLost(const std::shared_ptr<JobEntry>& entry) {
  TrainerSlot& trainer = entry->trainer;
  trainer.deadline = absl::InfiniteDuration();
  if (std::exchange(trainer.hears_last_words, true)) return absl::OkStatus();
  const int32_t attempt = entry->working->row.job.attempt();
  last_words_.Hear(entry, attempt, [this, entry, attempt](bool ended) {
    if (ended) return;
    context_->SubmitQuietly("end of a trainer", [this, entry, attempt](LedgerTransaction& transaction) {
      if (!IsCurrent(*entry, attempt)) return absl::OkStatus();
      entry->trainer.hears_last_words = false;
      entry->trainer.deadline = Now();  // again, if it cannot be written
      return ConcludeLost(entry, transaction);
    });
  });
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

// --- After a restart, and statistics that are damaged or gone ---

absl::Status Supervisor::Recover() {
  GW_ASSIGN_OR_RETURN(const std::vector<v1::Silence> silences, context_->deps.ledger->LoadSilences());
  for (const v1::Silence& silence : silences) context_->silences.Add(silence, context_->deps.clock->Now());
  context_->silences.Publish();
  GW_ASSIGN_OR_RETURN(std::vector<JobRow> rows, context_->deps.ledger->LoadJobs());
  GW_ASSIGN_OR_RETURN(const auto removals, context_->deps.ledger->LoadRemovals());
  for (const Ledger::Removal& removal : removals) RemoveFiles(removal.uid, removal.attempts);
  std::vector<Restored> active;
  for (JobRow& row : rows) GW_RETURN_IF_ERROR(Restore(std::move(row), &active));
  // The table is whole: only now may other threads work on it.
  for (const auto& [entry, last_step] : active) {
    RestoreStatistics(entry, last_step);
    context_->SubmitQuietly("recovery of a job", [this, entry = entry](LedgerTransaction& transaction) {
      return BeginRecovery(entry, transaction);
    });
  }
  if (!rows.empty()) spdlog::info("{} jobs in the data folder", rows.size());
  WarnOfStatisticsOfNobody();
  last_words_.RemoveOld();
  return absl::OkStatus();
}

// A ledger that is gone or older than the statistics beside it looks like a new one.
void Supervisor::WarnOfStatisticsOfNobody() const {
  int files = 0;
  for (const std::string& uid : context_->deps.statistics->Uids()) files += context_->table.FindUid(uid) == nullptr;
  if (files == 0) return;
  spdlog::warn(
      "{} files of statistics belong to no job: main.sqlite is not the one, or older than the one, that they were "
      "stored with; nothing is removed",
      files);
}

// Nothing else runs yet: what belongs to the ledger's thread may be touched from here. Of a job that has ended nothing
// is read but its row.
absl::Status Supervisor::Restore(JobRow row, std::vector<Restored>* active) {
  GW_ASSIGN_OR_RETURN(JobRecord loaded, LoadRecord(std::move(row), context_->deps.reader));
  const auto record = std::make_shared<const JobRecord>(std::move(loaded));
  const v1::Job& job = record->row.job;
  const int64_t order = absl::ToUnixMicros(core::FromTimestamp(job.create_time()));
  const LiveFigures figures = FiguresOf(job);
  const bool reads = !record->ended() && !record->waiting();
  absl::StatusOr<int64_t> last_step = figures.steps_done - 1;
  if (reads) last_step = context_->deps.statistics->LastStep(job.uid(), job.attempt());
  const int64_t end_step = std::max(last_step.value_or(-1), figures.steps_done - 1);
  const WatchCursor end = {.event = job.last_event(), .attempt = job.attempt(), .step = end_step};
  auto channel = std::make_shared<JobChannel>(job.uid(), end, record->ended(), context_->deps.rings);
  auto entry = std::make_shared<JobEntry>(job.uid(), job.job_id(), order, std::move(channel));
  entry->working = record;
  entry->intake.Restore(figures);
  context_->table.AddWorking(entry);
  context_->table.Publish(entry, record);
  if (reads) active->push_back({std::move(entry), std::move(last_step)});
  return absl::OkStatus();
}

void Supervisor::RemoveFiles(const std::string& uid, int32_t attempts) {
  context_->deps.statistics->Remove(uid, [context = context_, work = context_->work, uid, attempts] {
    const auto token = work->Enter();
    if (token == nullptr) return;  // the next start goes on
    context->deps.launcher->RemoveOutput(uid, attempts);
    context->SubmitQuietly("files of a deleted job",
                           [uid](LedgerTransaction& transaction) { return transaction.FilesRemoved(uid); });
  });
}

void Supervisor::RestoreStatistics(const std::shared_ptr<JobEntry>& entry, absl::StatusOr<int64_t> last_step) {
  const int64_t known_steps = entry->intake.figures().steps_done;
  if (last_step.ok()) last_step = CatchUp(*entry, entry->working->row.job.attempt(), *last_step);
  if (last_step.ok() && *last_step >= known_steps - 1) return;
  if (last_step.ok()) return TellGap(entry, *last_step + 1, "gone", [](const absl::Status&, auto) {});
  if (absl::IsDataLoss(last_step.status())) {
    return MendStatistics(entry, last_step.status(), [](const absl::StatusOr<int64_t>&) {});
  }
  // It may be readable when the trainer comes.
  spdlog::error("job {}: its statistics cannot be read: {}", entry->job_id, last_step.status().ToString());
}

absl::StatusOr<int64_t> Supervisor::CatchUp(JobEntry& entry, int32_t attempt, int64_t last_step) {
  LiveFigures figures = entry.intake.figures();
  if (last_step < figures.steps_done) return last_step;
  // Where very much was reported since, only the last of it counts.
  for (int64_t step = figures.steps_done - 1, bytes = 0; step < last_step;) {
    if (bytes > kMostReadAgain) step = last_step - 1;
    GW_ASSIGN_OR_RETURN(const auto entries,
                        context_->deps.statistics->ReadAfter(entry.uid, attempt, step, kReadAtOnce));
    if (entries.empty()) break;
    for (const EncodedReport& stored : entries) {
      step = stored.step;
      bytes += static_cast<int64_t>(stored.bytes->size());
      figures.steps_done = std::max(figures.steps_done, stored.step + 1);
      if (stored.lost) continue;
      GW_ASSIGN_OR_RETURN(const v1::StepReport report, DecodeReport(*stored.bytes));
      figures.Add(report);
    }
  }
  entry.intake.Restore(figures);
  entry.channel->SkipTo(attempt, last_step);
  return last_step;
}

void Supervisor::TellGap(const std::shared_ptr<JobEntry>& entry, int64_t first, absl::string_view what,
                         StatisticsStore::AppendDone done) {
  EncodedReport lost = EncodeLost(entry->working->row.job.attempt(), first, entry->intake.figures().steps_done - 1,
                                  absl::StrCat("what was stored of them is ", what));
  TellLost(entry->uid, lost, what);
  context_->AppendReports(entry, {std::move(lost)}, std::move(done));
}

void Supervisor::TellLost(absl::string_view uid, const EncodedReport& lost, absl::string_view what) {
  TellDataLoss(uid, absl::StrCat("statistics: attempt ", lost.attempt, ", steps ", lost.first_step, " to ", lost.step,
                                 " are ", what));
}

void Supervisor::MendStatistics(const std::shared_ptr<JobEntry>& entry, const absl::Status& damage,
                                absl::AnyInvocable<void(absl::StatusOr<int64_t>)> done) {
  spdlog::error("job {}: its statistics are set aside: {}", entry->job_id, damage.ToString());
  // On the ledger's thread, so that nothing is stored of a job that is deleted meanwhile.
  context_->SubmitQuietly("damaged statistics", [this, entry, done = std::move(done)](LedgerTransaction&) mutable {
    if (entry->working == nullptr) {
      done(JobNotFound(entry->job_id));
      return absl::OkStatus();
    }
    const int64_t last_step = entry->intake.figures().steps_done - 1;
    context_->deps.statistics->SetAside(entry->uid);
    if (last_step < 0) {
      TellDataLoss(entry->uid, absl::StrCat("statistics: attempt ", entry->working->row.job.attempt(),
                                            " is damaged; how many steps it had is not known"));
      auto token = context_->work->Enter();
      if (token == nullptr) return absl::OkStatus();
      context_->deps.statistics->Barrier([token = std::move(token), done = std::move(done)]() mutable { done(-1); });
      return absl::OkStatus();
    }
    TellGap(entry, 0, "damaged",
            [last_step, done = std::move(done)](const absl::Status& status, std::vector<EncodedReport>) mutable {
              done(status.ok() ? absl::StatusOr<int64_t>(last_step) : status);
            });
    return absl::OkStatus();
  });
}

void Supervisor::TellDataLoss(absl::string_view uid, std::string description) {
  const auto entry = context_->table.FindUid(uid);
  if (entry == nullptr || !entry->ClaimLoss(description)) return;
  context_->RunOnExecutor([this, entry, description = std::move(description)] {
    const auto record = entry->published();
    if (record == nullptr) return;
    // The events of a job that had ended when the server started were not read.
    const absl::StatusOr<bool> told = record->ended() ? LogTellsDataLoss(entry->uid, description, context_->deps.reader)
                                                      : record->data_losses.contains(description);
    if (told.ok() && *told) return;
    if (!told.ok()) return entry->ForgetLoss(description);
    context_->Submit<bool>(
        [this, entry, description](LedgerTransaction& transaction) -> absl::StatusOr<bool> {
          if (entry->working == nullptr) return false;
          JobEdit edit(context_, entry, &transaction);
          v1::Event event;
          event.mutable_data_loss()->set_description(description);
          edit.Append(std::move(event));
          GW_RETURN_IF_ERROR(edit.Write());
          edit.Publish();
          return true;
        },
        [entry, description](const absl::StatusOr<bool>& written) {
          if (!written.ok()) entry->ForgetLoss(description);
        });
  });
}

absl::Status Supervisor::BeginRecovery(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  JobEdit edit(context_, entry, &transaction);
  JobRow& row = edit.record().row;
  if (edit.record().unattended() && edit.record().external()) return absl::OkStatus();  // it waits, as before
  if (row.job.state() == v1::JOB_STATE_PENDING && row.trainer_pid == 0) {
    // The server went away before it knew the process. A new attempt fences off what may be there.
    row.attach_token.clear();
    GW_RETURN_IF_ERROR(edit.Write());
    edit.Publish([this](const JobRecord&) { StartNext(); });
    return absl::OkStatus();
  }
  if (edit.record().attached) edit.AppendDetached("the server was away");
  const v1::JobState state = row.job.state();
  if (MayFollow(state, v1::JOB_STATE_RECOVERING)) edit.MoveTo(v1::JOB_STATE_RECOVERING, "the server was away");
  GW_RETURN_IF_ERROR(edit.Write());
  entry->trainer.deadline = Now() + context_->options.reattach_window;
  edit.Publish([this, entry](const JobRecord& record) { AdoptTrainer(entry, record.row); });
  return absl::OkStatus();
}

void Supervisor::AdoptTrainer(const std::shared_ptr<JobEntry>& entry, const JobRow& row) {
  if (row.trainer_pid == 0) return;
  context_->RunOnExecutor([this, entry, pid = row.trainer_pid, request = LaunchRequestOf(row)] {
    context_->deps.launcher->Adopt(pid, request, EndCallback(entry, request.attempt));
  });
}

}  // namespace gradwatch::server
