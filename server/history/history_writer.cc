#include "server/history/history_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include "core/base/status_macros.h"
#include "core/base/thread_name.h"

namespace gradwatch::server {
namespace {

// How long it rests while little is to be done: what is taken apart together costs less.
constexpr absl::Duration kRest = absl::Milliseconds(200);
constexpr int64_t kMuchWaits = int64_t{1} << 20;
// An open block of which more does not come becomes a batch after this time.
constexpr absl::Duration kOldBlock = absl::Seconds(30);
// Of so many times its bound the journal is too long to wait for what cannot be read.
constexpr int64_t kMuchTooLong = 4;
constexpr absl::Duration kTidyEvery = absl::Seconds(1);
// The lowest tiers have this part of a budget besides.
constexpr int64_t kTierPart = 4;
// Space of what was dropped is given back from so much on, or from this part of what is kept on.
constexpr int64_t kDroppedBytes = int64_t{4} << 20;
constexpr int64_t kDroppedPart = 50;

}  // namespace

HistoryWriter::HistoryWriter(HistoryDatabase* database, HistoryJobs* jobs, StoreOptions options, Hooks hooks,
                             uint64_t journal)
    : database_(*database),
      jobs_(*jobs),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      packer_(database, options_.clock),
      keeps_budgets_(options_.knows_budgets),
      journal_begin_(journal) {
  thread_ = std::thread([this] {
    core::NameThisThread("history");
    Run();
  });
}

HistoryWriter::~HistoryWriter() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  database_.StopCompacting();
  thread_.join();
  work_->Close();
}

void HistoryWriter::Committed(uint64_t journal, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  next_.journal = journal;
  journal_.push_back({journal, bytes});
  journal_bytes_ += bytes;
}

void HistoryWriter::Remove(std::string uid, absl::AnyInvocable<void()> done) {
  absl::MutexLock lock(&mutex_);
  next_.removals.push_back({std::move(uid), std::move(done)});
}

void HistoryWriter::Settle(SettleDone done) {
  absl::MutexLock lock(&mutex_);
  next_.settles.push_back(std::move(done));
}

void HistoryWriter::WriteAnew() {
  absl::MutexLock lock(&mutex_);
  next_.writes_anew = true;
}

HistoryUsage HistoryWriter::usage() const {
  absl::MutexLock lock(&mutex_);
  return usage_;
}

int64_t HistoryWriter::JournalBytes() const {
  absl::MutexLock lock(&mutex_);
  return journal_bytes_;
}

bool HistoryWriter::closing() const {
  absl::MutexLock lock(&mutex_);
  return closing_;
}

bool HistoryWriter::HasWork() const {
  return closing_ || !next_.removals.empty() || !next_.settles.empty() || next_.writes_anew ||
         jobs_.waiting_bytes() > kMuchWaits;
}

bool HistoryWriter::TakeRound(Round* round) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &HistoryWriter::HasWork), kRest);
  Round empty;
  empty.journal = next_.journal;
  *round = std::exchange(next_, std::move(empty));
  return !closing_;
}

void HistoryWriter::Run() {
  Round round;
  while (TakeRound(&round)) {
    const absl::Status status = RunRound(&round);
    if (!status.ok()) hooks_.failed(status);
    for (SettleDone& done : round.settles) {
      done(!status.ok() ? status : !round.may_store.ok() ? round.may_store : round.unreadable);
    }
  }
  for (SettleDone& done : round.settles) done(absl::CancelledError("the store ends"));
}

absl::Status HistoryWriter::RunRound(Round* round) {
  const absl::Duration now = options_.clock->Monotonic();
  const bool settles = !round->settles.empty();
  writes_anew_ = writes_anew_ || round->writes_anew;
  GW_RETURN_IF_ERROR(RemoveJobs(round));
  const std::vector<HistoryJobs::Job> jobs = jobs_.All();
  GW_RETURN_IF_ERROR(WriteAnew(jobs, round));
  const absl::Duration oldest = settles ? absl::InfiniteDuration() : now - kOldBlock;
  // Also where nothing can be packed: who appends waits until it is done.
  for (const HistoryJobs::Job& job : jobs) job->TakeApart();
  round->may_store = hooks_.may_store();
  if (round->may_store.ok()) {
    GW_RETURN_IF_ERROR(StoreNotes(jobs));
    GW_RETURN_IF_ERROR(PackDue(jobs, oldest, round));
    GW_RETURN_IF_ERROR(KeepBounds(jobs, round));
  }
  const bool is_long = JournalBytes() > options_.max_journal_bytes;
  if (now >= next_tidying_ || settles || is_long) GW_RETURN_IF_ERROR(CutJournal(jobs, round->journal));
  if (now < next_tidying_ && !settles) return absl::OkStatus();
  next_tidying_ = now + kTidyEvery;
  GW_RETURN_IF_ERROR(KeepBudgets(jobs, round));
  CompactDropped();
  GW_ASSIGN_OR_RETURN(const HistoryUsage usage, database_.Usage());
  GW_RETURN_IF_ERROR(RebuildIfDamaged(jobs, usage.content, round));
  if (settles) GW_RETURN_IF_ERROR(database_.Sync());
  absl::MutexLock lock(&mutex_);
  usage_ = usage;
  return absl::OkStatus();
}

absl::Status HistoryWriter::RebuildIfDamaged(const std::vector<HistoryJobs::Job>& jobs, int64_t copy_bytes,
                                             Round* round) {
  if (!database_.needs_rebuild()) return absl::OkStatus();
  const bool lacks_room = hooks_.free_bytes() < copy_bytes + options_.disk_reserve;
  if (lacks_room && !lacks_room_) {
    spdlog::error("a part of the statistics is damaged, and there is no room to write the rest anew: {} MiB are needed",
                  (copy_bytes + options_.disk_reserve) >> 20);
  }
  lacks_room_ = lacks_room;
  if (lacks_room) return absl::OkStatus();
  spdlog::error("the statistics are written anew: a part of them is damaged");
  // Of journal and index something may be damaged, too, of which all is known here, and nothing will be later.
  GW_RETURN_IF_ERROR(PackDue(jobs, absl::InfiniteDuration(), round));
  std::vector<HistoryChanges> index;
  for (const HistoryJobs::Job& job : jobs) index.push_back(AllRows(*job));
  return database_.Rebuild([](absl::string_view, absl::string_view) {}, index);
}

absl::Status HistoryWriter::RemoveJobs(Round* round) {
  for (Removal& removal : round->removals) removals_.push_back(std::move(removal));
  round->removals.clear();
  while (!removals_.empty()) {
    HistoryChanges rows;
    for (const RowKind kind :
         {RowKind::kBatch, RowKind::kItem, RowKind::kLost, RowKind::kNames, RowKind::kProtected, RowKind::kTier}) {
      const KeyRange range = RowsOf(kind, removals_.front().uid);
      rows.DeleteRange(range.from, range.to);
    }
    GW_RETURN_IF_ERROR(database_.Write(rows));
    Removal removal = std::move(removals_.front());
    removals_.erase(removals_.begin());
    dropped_.erase(removal.uid);
    unreadable_.erase(removal.uid);
    RunLater([this, removal = std::move(removal)]() mutable {
      GiveSpaceBack(removal);
      if (!closing()) removal.done();
    });
  }
  return absl::OkStatus();
}

void HistoryWriter::GiveSpaceBack(const Removal& removal) {
  for (const RowKind kind : {RowKind::kBatch, RowKind::kTier}) {
    const KeyRange range = RowsOf(kind, removal.uid);
    // Whole files go at once, if no job of the same uid has begun.
    const bool is_gone = jobs_.Find(removal.uid) == nullptr;
    const absl::Status status =
        is_gone ? database_.CompactDeleted(range.from, range.to) : database_.Compact(range.from, range.to);
    if (!status.ok() && !closing()) spdlog::warn("space of removed statistics: {}", status.ToString());
  }
}

void HistoryWriter::RunLater(absl::AnyInvocable<void()> task) {
  options_.executor->Run([work = work_, task = std::move(task)]() mutable {
    const WorkTracker::Token token = work->Enter();
    if (token != nullptr) task();
  });
}

HistoryChanges HistoryWriter::AllRows(const JobHistory& job) {
  HistoryChanges rows;
  for (const RowKind kind : {RowKind::kItem, RowKind::kLost, RowKind::kNames, RowKind::kProtected}) {
    const KeyRange all = RowsOf(kind, job.uid());  // some may be damaged
    rows.DeleteRange(all.from, all.to);
  }
  if (!job.is_removed()) job.PutAllRows(&rows);
  return rows;
}

absl::Status HistoryWriter::WriteAnew(const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  if (!writes_anew_) return absl::OkStatus();
  for (const HistoryJobs::Job& job : jobs) GW_RETURN_IF_ERROR(database_.Write(AllRows(*job)));
  GW_RETURN_IF_ERROR(PackDue(jobs, absl::InfiniteDuration(), round));
  writes_anew_ = false;
  return absl::OkStatus();
}

absl::Status HistoryWriter::StoreNotes(const std::vector<HistoryJobs::Job>& jobs) {
  for (const HistoryJobs::Job& job : jobs) {
    HistoryChanges rows;
    if (!job->is_removed()) job->PutNotes(&rows);
    if (rows.empty()) continue;
    const absl::Status status = database_.Write(rows);
    if (!status.ok()) job->NotesFailed();
    GW_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status HistoryWriter::PackDue(const std::vector<HistoryJobs::Job>& jobs, absl::Duration oldest, Round* round,
                                    BlockPacker::Unreadable unreadable) {
  for (const HistoryJobs::Job& job : jobs) {
    absl::Status status;
    for (const BlockId& id : job->Due(oldest)) {
      if (job->is_removed() || closing() || !database_.is_writable()) break;
      status.Update(packer_.Pack(*job, id, unreadable));  // the next one may need nothing that cannot be read
    }
    GW_RETURN_IF_ERROR(PassOverUnreadable(*job, status, round));
  }
  return absl::OkStatus();
}

absl::Status HistoryWriter::PassOverUnreadable(const JobHistory& job, const absl::Status& status, Round* round) {
  if (status.ok()) {
    unreadable_.erase(job.uid());
    return absl::OkStatus();
  }
  if (!database_.is_writable()) return status;
  round->unreadable = status;
  if (unreadable_.insert(job.uid()).second) {
    spdlog::error("statistics of job {} cannot be packed for now: {}", job.uid(), status.ToString());
  }
  return absl::OkStatus();
}

absl::Status HistoryWriter::KeepBounds(const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  GW_RETURN_IF_ERROR(KeepMemoryBound(jobs, round));
  return KeepJournalBound(jobs, round);
}

absl::Status HistoryWriter::KeepMemoryBound(const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  const int64_t most = options_.max_open_bytes;
  if (jobs_.open_bytes() <= most) return absl::OkStatus();
  std::vector<std::pair<int64_t, HistoryJobs::Job>> by_size;  // as it is now: it changes while others read
  for (const HistoryJobs::Job& job : jobs) by_size.emplace_back(job->open_bytes(), job);
  std::sort(by_size.begin(), by_size.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [bytes, job] : by_size) {
    if (jobs_.open_bytes() <= most / 2) return absl::OkStatus();
    GW_RETURN_IF_ERROR(PackDue({job}, absl::InfiniteDuration(), round));
  }
  return jobs_.open_bytes() > most ? GiveUnreadableUp(jobs, round) : absl::OkStatus();
}

absl::Status HistoryWriter::KeepJournalBound(const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  const int64_t bytes = JournalBytes();
  if (bytes <= options_.max_journal_bytes) return absl::OkStatus();
  uint64_t middle = 0;
  {
    absl::MutexLock lock(&mutex_);
    middle = journal_[journal_.size() / 2].journal;
  }
  for (const HistoryJobs::Job& job : jobs) {
    if (job->FirstJournal().value_or(middle) >= middle) continue;
    GW_RETURN_IF_ERROR(PackDue({job}, absl::InfiniteDuration(), round));
  }
  return bytes > kMuchTooLong * options_.max_journal_bytes ? GiveUnreadableUp(jobs, round) : absl::OkStatus();
}

absl::Status HistoryWriter::GiveUnreadableUp(const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  std::vector<HistoryJobs::Job> unreadable;
  for (const HistoryJobs::Job& job : jobs) {
    if (!unreadable_.contains(job->uid())) continue;
    spdlog::error("statistics of job {} that cannot be read are given up: more is to be packed", job->uid());
    unreadable.push_back(job);
  }
  return PackDue(unreadable, absl::InfiniteDuration(), round, BlockPacker::Unreadable::kIsDamaged);
}

absl::Status HistoryWriter::CutJournal(const std::vector<HistoryJobs::Job>& jobs, uint64_t told) {
  uint64_t end = told + 1;
  for (const HistoryJobs::Job& job : jobs) end = std::min(end, job->FirstJournal().value_or(end));
  if (end <= journal_begin_) return absl::OkStatus();
  HistoryChanges rows;
  rows.DeleteRange(JournalKey(journal_begin_), JournalKey(end));
  GW_RETURN_IF_ERROR(database_.Write(rows));
  journal_begin_ = end;
  absl::MutexLock lock(&mutex_);
  while (!journal_.empty() && journal_.front().journal < end) {
    journal_bytes_ -= journal_.front().bytes;
    journal_.pop_front();
  }
  return absl::OkStatus();
}

absl::Status HistoryWriter::KeepBudgets(const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  if (!keeps_budgets_) return absl::OkStatus();
  for (const size_t level : {size_t{0}, size_t{1}}) GW_RETURN_IF_ERROR(KeepBudgetsOf(level, jobs, round));
  return absl::OkStatus();
}

absl::Status HistoryWriter::KeepBudgetsOf(size_t level, const std::vector<HistoryJobs::Job>& jobs, Round* round) {
  const int64_t part = level == 0 ? 1 : kTierPart;
  const int64_t max_bytes = options_.max_bytes / part;
  std::vector<RetentionBudget> budgets;
  int64_t all = 0;
  bool is_over = false;
  for (const HistoryJobs::Job& job : jobs) {
    RetentionBudget& budget = budgets.emplace_back(job->budget(options_.job_budget));
    budget.max_bytes /= part;
    const int64_t bytes = job->Ask([level](const HistoryIndex& index) { return index.bytes()[level]; });
    all += bytes;
    is_over = is_over || (budget.max_bytes > 0 && bytes > budget.max_bytes) || budget.max_age > absl::ZeroDuration();
  }
  if (!is_over && (max_bytes == 0 || all <= max_bytes)) return absl::OkStatus();
  std::vector<RetainedJob> retained;
  for (size_t i = 0; i < jobs.size(); ++i) {
    retained.push_back(jobs[i]->Ask([level](const HistoryIndex& index) { return index.Retained(level); }));
    retained.back().budget = budgets[i];
  }
  std::map<size_t, std::vector<RetainedBlock>> drops;  // by job
  for (const DroppedBlock& drop : BlocksToDrop(retained, max_bytes, options_.clock->Now())) {
    drops[drop.job].push_back(retained[drop.job].blocks[drop.block]);
  }
  for (const auto& [job, blocks] : drops) {
    const absl::Status status = packer_.Drop(*jobs[job], level, blocks);
    GW_RETURN_IF_ERROR(PassOverUnreadable(*jobs[job], status, round));
    if (status.ok()) NoteDropped(*jobs[job], level, blocks);
  }
  return absl::OkStatus();
}

void HistoryWriter::NoteDropped(const JobHistory& job, size_t level, absl::Span<const RetainedBlock> blocks) {
  if (level != 0) return;  // their rows lie among others'; compaction comes by
  Dropped& dropped = dropped_[job.uid()];
  for (const RetainedBlock& block : blocks) {
    const std::string key = RowKey{.kind = RowKind::kBatch,
                                   .uid = job.uid(),
                                   .attempt = block.attempt,
                                   .steps = {block.first_step, block.last_step}}
                                .Encode();
    if (dropped.from.empty() || key < dropped.from) dropped.from = key;
    if (key >= dropped.to) dropped.to = key + '\0';
    dropped.bytes += block.bytes;
  }
}

void HistoryWriter::CompactDropped() {
  int64_t bytes = 0, kept = 0;
  for (const auto& [uid, dropped] : dropped_) bytes += dropped.bytes;
  if (bytes == 0 || is_compacting_->load()) return;
  for (const HistoryJobs::Job& job : jobs_.All()) kept += job->Usage({}).report_bytes;
  if (bytes < std::max(kDroppedBytes, kept / kDroppedPart)) return;
  *is_compacting_ = true;
  RunLater([this, is_compacting = is_compacting_, all = std::exchange(dropped_, {})] {
    for (const auto& [uid, dropped] : all) {
      const absl::Status status = database_.Compact(dropped.from, dropped.to);
      if (!status.ok() && !closing()) spdlog::warn("space of dropped statistics: {}", status.ToString());
    }
    *is_compacting = false;
  });
}

}  // namespace gradwatch::server
