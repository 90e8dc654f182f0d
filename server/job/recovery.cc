#include "server/job/recovery.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/store/report_codec.h"

namespace gradwatch::server {
namespace {

// Of the reports since figures were saved.
constexpr size_t kReadAtOnce = size_t{4} << 20;
constexpr int64_t kMostReadAgain = int64_t{128} << 20;

}  // namespace

absl::Status Recovery::Recover() {
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
      return supervisor_->BeginRecovery(entry, transaction);
    });
  }
  if (!rows.empty()) spdlog::info("{} jobs in the data folder", rows.size());
  WarnOfStatisticsOfNobody();
  return absl::OkStatus();
}

// A ledger that is gone or older than the statistics beside it looks like a new one.
void Recovery::WarnOfStatisticsOfNobody() const {
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
absl::Status Recovery::Restore(JobRow row, std::vector<Restored>* active) {
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
  if (job.spec().has_retention()) context_->KeepWithinBudget(job);
  context_->table.AddWorking(entry);
  context_->table.Publish(entry, record);
  if (reads) active->push_back({std::move(entry), std::move(last_step)});
  return absl::OkStatus();
}

void Recovery::RemoveFiles(const std::string& uid, int32_t attempts) {
  context_->deps.statistics->Remove(uid, [context = context_, work = context_->work, uid, attempts] {
    const auto token = work->Enter();
    if (token == nullptr) return;  // the next start goes on
    context->deps.launcher->RemoveOutput(uid, attempts);
    context->SubmitQuietly("files of a deleted job",
                           [uid](LedgerTransaction& transaction) { return transaction.FilesRemoved(uid); });
  });
}

void Recovery::RestoreStatistics(const std::shared_ptr<JobEntry>& entry, absl::StatusOr<int64_t> last_step) {
  const int64_t known_steps = ReportedSteps(*entry);
  if (last_step.ok()) last_step = CatchUp(*entry, entry->working->row.job.attempt(), *last_step);
  if (last_step.ok() && *last_step >= known_steps - 1) return;
  if (last_step.ok()) return TellGap(entry, *last_step + 1, "gone", [](const absl::Status&, auto) {});
  if (absl::IsDataLoss(last_step.status())) {
    return MendStatistics(entry, last_step.status(), [](const absl::StatusOr<int64_t>&) {});
  }
  // It may be readable when the trainer comes.
  spdlog::error("job {}: its statistics cannot be read: {}", entry->job_id, last_step.status().ToString());
}

absl::StatusOr<int64_t> Recovery::CatchUp(JobEntry& entry, int32_t attempt, int64_t last_step) {
  LiveFigures figures = entry.intake.figures();
  if (figures.attempt > attempt) return last_step;  // another trainer has the job meanwhile
  if (figures.attempt < attempt) {
    figures = LiveFigures();
    figures.attempt = attempt;
  }
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
  if (entry.intake.Restore(figures)) entry.channel->SkipTo(attempt, last_step);
  return last_step;
}

void Recovery::TellGap(const std::shared_ptr<JobEntry>& entry, int64_t first, absl::string_view what,
                       StatisticsStore::AppendDone done) {
  EncodedReport lost = EncodeLost(entry->working->row.job.attempt(), first, ReportedSteps(*entry) - 1,
                                  absl::StrCat("what was stored of them is ", what));
  TellLost(entry->uid, lost, what);
  context_->AppendReports(entry, {std::move(lost)}, std::move(done));
}

void Recovery::TellLost(absl::string_view uid, const EncodedReport& lost, absl::string_view what) {
  TellDataLoss(uid, absl::StrCat("statistics: attempt ", lost.attempt, ", steps ", lost.first_step, " to ", lost.step,
                                 " are ", what));
}

void Recovery::MendStatistics(const std::shared_ptr<JobEntry>& entry, const absl::Status& damage,
                              absl::AnyInvocable<void(absl::StatusOr<int64_t>)> done) {
  spdlog::error("job {}: its statistics are set aside: {}", entry->job_id, damage.ToString());
  // On the ledger's thread, so that nothing is stored of a job that is deleted meanwhile.
  context_->SubmitQuietly("damaged statistics", [this, entry, done = std::move(done)](LedgerTransaction&) mutable {
    if (entry->working == nullptr) {
      done(JobNotFound(entry->job_id));
      return absl::OkStatus();
    }
    const int64_t last_step = ReportedSteps(*entry) - 1;
    context_->deps.statistics->SetAside(entry->uid);
    if (last_step < 0) {
      TellDataLoss(entry->uid, absl::StrCat("statistics: attempt ", entry->working->row.job.attempt(),
                                            " is damaged; how many steps it had is not known"));
      auto token = context_->work->Enter();
      if (token == nullptr) {
        done(ShuttingDown());
        return absl::OkStatus();
      }
      context_->deps.statistics->Barrier([token = std::move(token), done = std::move(done)]() mutable { done(-1); });
      return absl::OkStatus();
    }
    auto token = context_->work->Enter();
    if (token == nullptr) {
      done(ShuttingDown());
      return absl::OkStatus();
    }
    auto stored = [token = std::move(token), last_step, done = std::move(done)](const absl::Status& status,
                                                                                auto) mutable {
      done(status.ok() ? absl::StatusOr<int64_t>(last_step) : status);
    };
    TellGap(entry, 0, "damaged", std::move(stored));
    return absl::OkStatus();
  });
}

void Recovery::TellDataLoss(absl::string_view uid, std::string description) {
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
          edit.AppendDataLoss(description);
          GW_RETURN_IF_ERROR(edit.Write());
          edit.Publish();
          return true;
        },
        [entry, description](const absl::StatusOr<bool>& written) {
          if (!written.ok()) entry->ForgetLoss(description);
        });
  });
}

}  // namespace gradwatch::server
