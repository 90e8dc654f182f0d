#include "server/history/statistics_store.h"

#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"
#include "server/history/history_database.h"
#include "server/history/history_jobs.h"
#include "server/history/history_loader.h"
#include "server/history/history_writer.h"
#include "server/history/job_source.h"
#include "server/history/journal.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Seconds(30);
constexpr absl::Duration kLookAtDiskEvery = absl::Seconds(1);
// What the loss of power may cost.
constexpr absl::Duration kSyncEvery = absl::Seconds(1);
// Of one record of the journal, about.
constexpr size_t kRoundBytes = size_t{8} << 20;
// While so much waits to be taken apart, nothing more is committed; it is looked at so often then.
constexpr int64_t kMostWaiting = int64_t{16} << 20;
constexpr absl::Duration kLookAtLoadEvery = absl::Milliseconds(10);

// One thing to do.
struct Command {
  enum class Kind { kAppend, kBarrier, kSettle, kRemove, kProtect };
  Kind kind = Kind::kAppend;
  std::string uid = {};
  std::vector<EncodedReport> reports = {};
  StatisticsStore::AppendDone append_done = {};
  absl::AnyInvocable<void()> done = {};                            // of a barrier, of a removal
  absl::AnyInvocable<void(const absl::Status&)> settle_done = {};  // of a settlement
  int32_t attempt = 0;                                             // of what is protected
  StepRange steps = {};
  absl::Status status = {};  // of an append; an error: it must not be tried

  size_t bytes() const {
    size_t bytes = 0;
    for (const EncodedReport& report : reports) bytes += report.bytes->size();
    return bytes;
  }
};

// What has failed of a job that has not heard of it yet.
struct Unheard {
  int64_t appends = 0;
  absl::Status status;
};

absl::StatusOr<int64_t> FreeBytes(const std::string& folder) {
  struct statvfs info = {};
  if (statvfs(folder.c_str(), &info) != 0) {
    return absl::UnavailableError(absl::StrCat("statvfs ", folder, ": ", std::strerror(errno)));
  }
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

absl::Status DiskIsFull(int64_t free, int64_t reserve) {
  return core::WithReason(absl::ResourceExhaustedError(absl::StrCat("the server's disk is full: ", free >> 20,
                                                                    " MiB are free, and statistics leave ",
                                                                    reserve >> 20, " MiB to the rest")),
                          "STORAGE_FULL");
}

// Why nothing is stored, and when it is tried again. Thread-safe.
class Stops {
 public:
  Stops(const core::Clock* clock, int64_t reserve) : clock_(*clock), reserve_(reserve) {}

  // OK: it can be stored.
  absl::Status Why() const {
    absl::MutexLock lock(&mutex_);
    return error_.ok() ? shortage_ : error_;
  }
  void Fail(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) return;
    error_ = status;
    next_try_ = clock_.Monotonic() + pause_;
    Begin(status);
  }
  bool IsHealingDue() const {
    absl::MutexLock lock(&mutex_);
    return !error_.ok() && clock_.Monotonic() >= next_try_;
  }
  // It was tried.
  void Healed(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (status.ok()) {
      error_ = absl::OkStatus();
      return End();
    }
    pause_ = std::min(2 * pause_, kLongestPause);
    next_try_ = clock_.Monotonic() + pause_;
  }
  // An append was stored.
  void Worked() {
    absl::MutexLock lock(&mutex_);
    if (error_.ok()) pause_ = kFirstPause;
  }
  void SetFree(int64_t free) {
    absl::MutexLock lock(&mutex_);
    if (free < reserve_ && shortage_.ok()) {
      shortage_ = DiskIsFull(free, reserve_);
      Begin(shortage_);
    } else if (free >= reserve_ + reserve_ / 2 && !shortage_.ok()) {
      shortage_ = absl::OkStatus();
      End();
    }
  }
  void Tell(StoreUsage* usage) const {
    absl::MutexLock lock(&mutex_);
    const absl::Status& why = error_.ok() ? shortage_ : error_;
    if (why.ok()) return;
    usage->stopped = std::string(why.message());
    usage->stopped_since = since_;
  }

 private:
  void Begin(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!stopped_) since_ = clock_.Now();
    stopped_ = true;
    spdlog::error("statistics are not stored: {}", status.ToString());
  }
  void End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!error_.ok() || !shortage_.ok()) return;
    stopped_ = false;
    spdlog::info("statistics are stored again");
  }

  const core::Clock& clock_;
  const int64_t reserve_;
  mutable absl::Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);     // of the database
  absl::Status shortage_ ABSL_GUARDED_BY(mutex_);  // of the disk
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time since_ ABSL_GUARDED_BY(mutex_);
  absl::Duration pause_ ABSL_GUARDED_BY(mutex_) = kFirstPause;
  absl::Duration next_try_ ABSL_GUARDED_BY(mutex_);
};

class RocksStatisticsStore final : public StatisticsStore {
 public:
  RocksStatisticsStore(std::string folder, StoreOptions options, std::unique_ptr<HistoryDatabase> database)
      : folder_(std::move(folder)),
        options_(std::move(options)),
        database_(std::move(database)),
        jobs_(database_.get()),
        stops_(options_.clock, options_.disk_reserve) {}

  absl::Status Start() {
    GW_ASSIGN_OR_RETURN(const LoadedHistory loaded, LoadHistory(database_.get(), options_.clock, &jobs_));
    using DatabaseFound = HistoryDatabase::Found;
    found_ = loaded.is_damaged ? Found::kDamaged : Found::kSound;
    if (database_->found() == DatabaseFound::kNew) found_ = Found::kNew;
    if (database_->found() > DatabaseFound::kNew) found_ = Found::kDamaged;
    worst_found_ = database_->found();
    next_journal_ = loaded.next_journal;
    StoreOptions options = options_;
    if (options.executor == nullptr) options.executor = &space_.emplace("history-room", 1);
    writer_.emplace(database_.get(), &jobs_, std::move(options),
                    HistoryWriter::Hooks{[this] { return stops_.Why(); },
                                         [this](const absl::Status& status) { stops_.Fail(status); },
                                         [this] { return free_bytes_.load(); }},
                    loaded.first_journal);
    for (const auto& [journal, bytes] : loaded.records) writer_->Committed(journal, bytes);
    if (found_ == Found::kDamaged) writer_->WriteAnew();
    thread_ = std::thread([this] {
      core::NameThisThread("statistics");
      Run();
    });
    sync_thread_ = std::thread([this] {
      core::NameThisThread("history-sync");
      SyncEverySecond();
    });
    return absl::OkStatus();
  }

  ~RocksStatisticsStore() override {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
    }
    if (thread_.joinable()) thread_.join();
    if (sync_thread_.joinable()) sync_thread_.join();
    writer_.reset();
  }

  void Append(absl::string_view uid, std::vector<EncodedReport> reports, AppendDone done) override {
    Queue({.kind = Command::Kind::kAppend,
           .uid = std::string(uid),
           .reports = std::move(reports),
           .append_done = std::move(done)});
  }
  void Barrier(absl::AnyInvocable<void()> done) override {
    Queue({.kind = Command::Kind::kBarrier, .done = std::move(done)});
  }
  void Settle(absl::AnyInvocable<void(const absl::Status&)> done) override {
    Queue({.kind = Command::Kind::kSettle, .settle_done = std::move(done)});
  }
  void Remove(absl::string_view uid, absl::AnyInvocable<void()> done) override {
    Queue({.kind = Command::Kind::kRemove, .uid = std::string(uid), .done = std::move(done)});
  }
  void Protect(absl::string_view uid, int32_t attempt, int64_t first_step, int64_t last_step) override {
    Queue({.kind = Command::Kind::kProtect,
           .uid = std::string(uid),
           .attempt = attempt,
           .steps = {std::max<int64_t>(0, first_step), last_step}});
  }
  void SetBudget(absl::string_view uid, const RetentionBudget& budget) override {
    if (CheckUid(uid).ok()) jobs_.FindOrMake(uid)->SetBudget(budget);
  }
  void KeepBudgets() override { writer_->StartKeepingBudgets(); }

  std::vector<std::string> Uids() const override {
    std::vector<std::string> uids;
    for (const HistoryJobs::Job& job : jobs_.All()) {
      if (!job->is_empty()) uids.push_back(job->uid());
    }
    return uids;
  }
  Found found() const override { return found_; }

  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                       size_t max_bytes) override {
    GW_RETURN_IF_ERROR(CheckUid(uid));
    const HistoryJobs::Job job = jobs_.Find(uid);
    if (job == nullptr) return std::vector<EncodedReport>();
    return job->ReadAfter(attempt, step, max_bytes);
  }
  absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) const override {
    GW_RETURN_IF_ERROR(CheckUid(uid));
    const HistoryJobs::Job job = jobs_.Find(uid);
    return job == nullptr ? -1 : job->LastStep(attempt);
  }
  absl::StatusOr<std::unique_ptr<BlockSource>> Source(absl::string_view uid, int32_t attempt) override {
    GW_RETURN_IF_ERROR(CheckUid(uid));
    HistoryJobs::Job job = jobs_.Find(uid);
    if (job == nullptr) job = std::make_shared<JobHistory>(std::string(uid), database_.get(), &nothing_);
    return MakeJobSource(std::move(job), attempt);
  }
  std::vector<std::string> LayerNames(absl::string_view uid) const override {
    const HistoryJobs::Job job = jobs_.Find(uid);
    return job == nullptr ? std::vector<std::string>() : job->LayerNames();
  }

  StoreUsage Usage() const override {
    StoreUsage usage{
        .max_bytes = options_.max_bytes, .job_budget = options_.job_budget, .stopped = {}, .stopped_since = {}};
    for (const HistoryJobs::Job& job : jobs_.All()) {
      const JobUsage of_job = job->Usage(options_.job_budget);
      usage.report_bytes += of_job.report_bytes;
      usage.range_bytes += of_job.range_bytes;
    }
    usage.disk_bytes = writer_->usage().files;
    usage.free_bytes = free_bytes_;
    stops_.Tell(&usage);
    return usage;
  }
  JobUsage UsageOf(absl::string_view uid) const override {
    const HistoryJobs::Job job = jobs_.Find(uid);
    if (job != nullptr) return job->Usage(options_.job_budget);
    return {.first_step = std::nullopt, .budget = options_.job_budget};
  }

 private:
  void Queue(Command command) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto failure = unheard_.find(command.uid);
    if (command.kind == Command::Kind::kAppend && failure != unheard_.end()) {
      FailAppend(failure->second.status, &command);
    }
    queue_.push_back(std::move(command));
  }

  // Whether so much is in no batch yet that no more is taken in. Readers take apart what waits as fast as they like:
  // what they made of it counts, too. While nothing can be stored it stays, and who appends is to hear why.
  bool IsBehind() const {
    if (jobs_.waiting_bytes() >= kMostWaiting) return true;
    return jobs_.open_bytes() >= 2 * options_.max_open_bytes && stops_.Why().ok();
  }

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || (!queue_.empty() && !IsBehind()); }

  // What is there at the moment. False: the store closes and nothing is left.
  bool TakeRound(std::vector<Command>* round) ABSL_LOCKS_EXCLUDED(mutex_) {
    round->clear();
    for (Command& removal : removals_) round->push_back(std::move(removal));
    removals_.clear();
    absl::MutexLock lock(&mutex_);
    // Nobody tells when it is not behind any more, and who waits for an answer queues nothing.
    mutex_.AwaitWithTimeout(absl::Condition(this, &RocksStatisticsStore::HasWork),
                            queue_.empty() ? kLookAtDiskEvery : kLookAtLoadEvery);
    if (!HasWork()) return true;
    for (size_t bytes = 0; !queue_.empty() && bytes < kRoundBytes; queue_.pop_front()) {
      bytes += queue_.front().bytes();
      round->push_back(std::move(queue_.front()));
    }
    return !round->empty() || !closing_;
  }

  void Run() {
    std::vector<Command> round;
    while (TakeRound(&round)) {
      LookAtDisk();
      HealIfDue();
      Commit(&round);
      for (Command& command : round) Finish(&command);
      if (closing() && round.size() == removals_.size()) return;  // which can only be tried again
    }
  }

  bool closing() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return closing_;
  }

  void LookAtDisk() {
    const absl::Duration now = options_.clock->Monotonic();
    if (now < next_look_) return;
    next_look_ = now + kLookAtDiskEvery;
    const absl::StatusOr<int64_t> free = options_.free_bytes == nullptr ? FreeBytes(folder_) : options_.free_bytes();
    if (!free.ok()) return;  // a write will tell
    free_bytes_ = *free;
    stops_.SetFree(*free);
  }

  void HealIfDue() {
    if (!stops_.IsHealingDue()) return;
    const absl::Status status = database_->Heal();
    stops_.Healed(status);
    if (!status.ok() || database_->found() <= worst_found_) return;
    worst_found_ = database_->found();
    spdlog::error("the statistics were damaged: what was committed last is written anew");
    writer_->WriteAnew();
  }

  // One record of the journal for all that can be stored.
  void Commit(std::vector<Command>* round) {
    absl::Status status = stops_.Why();
    HistoryChanges rows;
    std::vector<JournalPart> parts;
    if (status.ok()) parts = MakeParts(round);
    const uint64_t journal = next_journal_;
    std::string record;
    if (!parts.empty()) {
      record = EncodeJournal(parts);
      rows.Put(JournalKey(journal), record);
      ++next_journal_;  // also where it fails: with the loss of power it may be there
    }
    if (status.ok() && !rows.empty()) {
      status = database_->Write(rows);
      if (!status.ok()) stops_.Fail(status);
    }
    if (!status.ok()) return Fail(round, status);
    if (parts.empty()) return;
    stops_.Worked();
    has_unsynced_ = true;
    for (Command& command : *round) Tell(&command, journal);
    writer_->Committed(journal, static_cast<int64_t>(record.size()));
  }

  static std::vector<JournalPart> MakeParts(std::vector<Command>* round) {
    std::vector<JournalPart> parts;
    for (Command& command : *round) {
      const bool is_stored = command.kind == Command::Kind::kAppend || command.kind == Command::Kind::kRemove;
      if (is_stored && command.status.ok()) command.status = CheckUid(command.uid);
      if (!is_stored || !command.status.ok()) continue;
      if (command.kind == Command::Kind::kRemove) {
        parts.push_back(RemovalPart(command.uid));
      } else if (!command.reports.empty()) {
        AddPart(command, &parts);
      }
    }
    return parts;
  }

  static void AddPart(const Command& command, std::vector<JournalPart>* parts) {
    const int32_t attempt = command.reports.front().attempt;
    if (parts->empty() || parts->back().uid != command.uid || parts->back().attempt != attempt ||
        IsRemoval(parts->back())) {
      parts->push_back({command.uid, attempt, ""});
    }
    for (const EncodedReport& report : command.reports) parts->back().entries += *report.bytes;
  }

  // The jobs hear of what is committed, before anybody else does.
  void Tell(Command* command, uint64_t journal) {
    if (!command->status.ok()) return;
    if (command->kind == Command::Kind::kRemove) jobs_.Remove(command->uid);
    if (command->kind != Command::Kind::kAppend || command->reports.empty()) return;
    jobs_.FindOrMake(command->uid)->Add(command->reports, journal, options_.clock->Monotonic());
    for (EncodedReport& report : command->reports) report.report = nullptr;
  }

  // Whoever appends does not know yet: what is queued, and what comes until he has heard, would leave a gap before it.
  void Fail(std::vector<Command>* round, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    for (Command& command : *round) {
      if (command.kind == Command::Kind::kAppend) FailAppend(status, &command);
      if (command.status.ok()) command.status = status;
    }
    for (Command& command : queue_) {
      if (command.kind == Command::Kind::kAppend) FailAppend(status, &command);
    }
  }

  void FailAppend(const absl::Status& status, Command* command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!command->status.ok()) return;
    command->status = status;
    Unheard& unheard = unheard_[command->uid];
    ++unheard.appends;
    unheard.status = status;
  }

  void TellAppended(Command* command) ABSL_LOCKS_EXCLUDED(mutex_) {
    command->append_done(command->status, std::move(command->reports));
    if (command->status.ok()) return;
    absl::MutexLock lock(&mutex_);
    const auto unheard = unheard_.find(command->uid);
    if (unheard != unheard_.end() && --unheard->second.appends == 0) unheard_.erase(unheard);
  }

  void Finish(Command* command) {
    switch (command->kind) {
      case Command::Kind::kAppend:
        return TellAppended(command);
      case Command::Kind::kBarrier:
        return command->done();
      case Command::Kind::kSettle:
        return writer_->Settle(std::move(command->settle_done));
      case Command::Kind::kProtect:  // also where nothing can be stored now
        if (const HistoryJobs::Job job = jobs_.Find(command->uid)) job->Protect(command->attempt, command->steps);
        return;
      case Command::Kind::kRemove:
        if (absl::IsInvalidArgument(command->status)) return command->done();
        if (command->status.ok()) return writer_->Remove(std::move(command->uid), std::move(command->done));
        jobs_.Remove(command->uid);
        command->status = absl::OkStatus();
        return removals_.push_back(std::move(*command));
    }
  }

  void SyncEverySecond() {
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        mutex_.AwaitWithTimeout(absl::Condition(&closing_), kSyncEvery);
        if (closing_) return;  // the database does when it goes
      }
      // What was committed before the disk was found to be short of room is made durable all the same.
      if (!database_->is_writable() || !has_unsynced_.exchange(false)) continue;
      const absl::Status status = database_->Sync();
      if (!status.ok()) stops_.Fail(status);
    }
  }

  const std::string folder_;
  const StoreOptions options_;
  std::optional<ThreadPool> space_;
  const std::unique_ptr<HistoryDatabase> database_;
  HistoryJobs jobs_;
  Stops stops_;
  HistoryLoad nothing_;          // of jobs of which nothing is stored
  Found found_ = Found::kSound;  // constant after Start
  std::optional<HistoryWriter> writer_;
  std::atomic<int64_t> free_bytes_ = 0;
  std::atomic<bool> has_unsynced_ = false;

  // The thread's own.
  HistoryDatabase::Found worst_found_ = HistoryDatabase::Found::kSound;
  uint64_t next_journal_ = 1;
  absl::Duration next_look_ = -absl::InfiniteDuration();
  std::vector<Command> removals_;  // that could not be committed

  mutable absl::Mutex mutex_;
  std::deque<Command> queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Unheard> unheard_ ABSL_GUARDED_BY(mutex_);  // by uid
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_, sync_thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StatisticsStore>> StatisticsStore::Open(const std::string& folder,
                                                                       StoreOptions options) {
  GW_ASSIGN_OR_RETURN(auto database, HistoryDatabase::Open(folder, options.env));
  auto store = std::make_unique<RocksStatisticsStore>(folder, std::move(options), std::move(database));
  GW_RETURN_IF_ERROR(store->Start());
  return store;
}

}  // namespace gradwatch::server
