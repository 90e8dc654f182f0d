#include "server/job/recovery.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/history/encoded_report.h"

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
  std::vector<Restored> restored;
  for (JobRow& row : rows) GW_RETURN_IF_ERROR(Restore(std::move(row), &restored));
  // The table is whole: only now may other threads work on it.
  for (const Restored& one : restored) {
    RestoreStatistics(one);
    if (!one.is_active) continue;
    context_->SubmitQuietly("recovery of a job", [this, entry = one.entry](LedgerTransaction& transaction) {
      return supervisor_->BeginRecovery(entry, transaction);
    });
  }
  if (!rows.empty()) spdlog::info("{} jobs in the data folder", rows.size());
  WarnOfStatisticsOfNobody();
  return absl::OkStatus();
}

// A ledger that is gone or older than the statistics beside it looks like a new one.
void Recovery::WarnOfStatisticsOfNobody() const {
  int jobs = 0;
  for (const std::string& uid : context_->deps.statistics->Uids()) jobs += context_->table.FindUid(uid) == nullptr;
  if (jobs == 0) return;
  spdlog::warn(
      "there are statistics of {} jobs that main.sqlite does not know: it is not the one, or older than the one, that "
      "they were stored with; nothing is removed",
      jobs);
}

// What a trainer lost at its end was never stored, and is no loss: so only if the store itself has lost something.
bool Recovery::FallsShort(int64_t last_step, int64_t end_step) const {
  switch (context_->deps.statistics->found()) {
    case StatisticsStore::Found::kSound:
      return false;
    case StatisticsStore::Found::kNew:
      return last_step < 0 && end_step >= 0;
    case StatisticsStore::Found::kDamaged:
      return last_step < end_step;
  }
  return false;
}

// Nothing else runs yet: what belongs to the ledger's thread may be touched from here. Of a job that has ended nothing
// is read but its row.
absl::Status Recovery::Restore(JobRow row, std::vector<Restored>* restored) {
  GW_ASSIGN_OR_RETURN(JobRecord loaded, LoadRecord(std::move(row), context_->deps.reader));
  const auto record = std::make_shared<const JobRecord>(std::move(loaded));
  const v1::Job& job = record->row.job;
  const int64_t order = absl::ToUnixMicros(core::FromTimestamp(job.create_time()));
  const LiveFigures figures = FiguresOf(job);
  const int64_t last_step =
      context_->deps.statistics->LastStep(job.uid(), job.attempt()).value_or(figures.steps_done - 1);
  const bool is_active = !record->ended() && !record->waiting();
  const int64_t end_step = std::max(is_active ? last_step : -1, figures.steps_done - 1);
  const WatchCursor end = {.event = job.last_event(), .attempt = job.attempt(), .step = end_step};
  auto channel = std::make_shared<JobChannel>(job.uid(), end, record->ended(), context_->deps.rings);
  auto entry = std::make_shared<JobEntry>(job.uid(), job.job_id(), order, std::move(channel));
  entry->working = record;
  entry->intake.Restore(figures);
  if (job.spec().has_retention()) context_->KeepWithinBudget(job);
  context_->table.AddWorking(entry);
  context_->table.Publish(entry, record);
  if (is_active || FallsShort(last_step, figures.steps_done - 1)) {
    restored->push_back({std::move(entry), last_step, is_active});
  }
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

void Recovery::RestoreStatistics(const Restored& restored) {
  const std::shared_ptr<JobEntry>& entry = restored.entry;
  const int64_t known_steps = ReportedSteps(*entry);
  if (restored.is_active) {
    const auto last_step = CatchUp(*entry, entry->working->row.job.attempt(), restored.last_step);
    // It may be readable when the trainer comes.
    if (!last_step.ok()) {
      return spdlog::error("job {}: its statistics cannot be read: {}", entry->job_id, last_step.status().ToString());
    }
  }
  if (restored.last_step < known_steps - 1) TellGap(entry, restored.last_step + 1);
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

void Recovery::TellGap(const std::shared_ptr<JobEntry>& entry, int64_t first) {
  EncodedReport lost = EncodeLost(entry->working->row.job.attempt(), first, ReportedSteps(*entry) - 1,
                                  "what was stored of them is gone");
  TellLost(entry->uid, lost);
  context_->AppendReports(entry, {std::move(lost)}, [](const absl::Status&, auto) {});
}

void Recovery::TellLost(absl::string_view uid, const EncodedReport& lost) {
  TellDataLoss(uid, absl::StrCat("statistics: attempt ", lost.attempt, ", steps ", lost.first_step, " to ", lost.step,
                                 " are gone"));
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
