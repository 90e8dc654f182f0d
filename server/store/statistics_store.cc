#include "server/store/statistics_store.h"

#include <deque>
#include <filesystem>
#include <map>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"
#include "server/base/data_folder.h"
#include "server/store/reader_pool.h"
#include "server/store/statistics_database.h"
#include "server/store/statistics_writers.h"

namespace gradwatch::server {
namespace {

constexpr size_t kMaxIdleReaders = 32;

// One thing to do; `uid` is empty where it is about no job, or many.
struct Command {
  enum class Kind { kAppend, kBarrier, kRemove, kSetAside, kSweep };
  Kind kind = Kind::kAppend;
  std::string uid = {};
  std::vector<EncodedReport> reports = {};
  StatisticsStore::AppendDone append_done = {};
  absl::AnyInvocable<void()> done = {};  // of a barrier, of a removal
  absl::Status status = {};              // of an append; an error: it must not be tried

  bool moves_files() const { return kind == Kind::kRemove || kind == Kind::kSetAside; }
};

// An error about the database of a job, with its name. What will not get better by itself is loss of data: a file that
// may not be read, of another format, or whose tables are not ours.
absl::Status AboutJob(absl::string_view uid, const absl::Status& status) {
  const std::string message = absl::StrCat("statistics of job ", uid, ": ", status.message());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return status;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kInternal:
      return core::WithReason(absl::DataLossError(message), "LOG_CORRUPT");
    default:
      absl::Status named(status.code(), message);
      status.ForEachPayload(
          [&named](absl::string_view url, const absl::Cord& payload) { named.SetPayload(url, payload); });
      return named;
  }
}

class SqliteStatisticsStore final : public StatisticsStore {
 public:
  SqliteStatisticsStore(std::string folder, const core::Clock* clock, Executor* executor, int max_open)
      : folder_(std::move(folder)),
        max_open_(static_cast<size_t>(max_open)),
        clock_(clock),
        executor_(executor == nullptr ? &in_place_ : executor),
        readers_(kMaxIdleReaders) {
    thread_ = std::thread([this] {
      core::NameThisThread("statistics");
      Run();
    });
  }

  ~SqliteStatisticsStore() override {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
    }
    thread_.join();
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

  void Remove(absl::string_view uid, absl::AnyInvocable<void()> done) override {
    Queue({.kind = Command::Kind::kRemove, .uid = std::string(uid), .done = std::move(done)});
  }

  std::vector<std::string> Uids() const override {
    std::vector<std::string> uids;
    std::error_code error;
    for (std::filesystem::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
      if (it->path().extension() == ".db") uids.push_back(it->path().stem().string());
    }
    return uids;
  }

  void SetAside(absl::string_view uid) override { Queue({.kind = Command::Kind::kSetAside, .uid = std::string(uid)}); }

  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                       size_t max_bytes) override {
    return Read<std::vector<EncodedReport>>(
        uid, {}, [&](StatisticsReader& reader) { return reader.ReadAfter(attempt, step, max_bytes); });
  }

  absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) override {
    return Read<int64_t>(uid, -1, [&](StatisticsReader& reader) { return reader.LastStep(attempt); });
  }

 private:
  void Queue(Command command) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    queue_.push_back(std::move(command));
  }

  // What `body` reads, or `none` where the job has no statistics.
  template <typename T, typename Body>
  absl::StatusOr<T> Read(absl::string_view uid, T none, Body body) {
    GW_ASSIGN_OR_RETURN(const std::string path, StatisticsPath(folder_, uid));
    absl::StatusOr<T> result = readers_.Use(
        uid, [&path] { return StatisticsReader::Open(path); }, body);
    if (absl::IsNotFound(result.status())) return none;
    // Removed while it was read: what SQLite made beside it meanwhile must go too.
    std::error_code ignored;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, ignored))) {
      Queue({.kind = Command::Kind::kSweep, .uid = std::string(uid)});
    }
    if (!result.ok()) return AboutJob(uid, result.status());
    return result;
  }

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !queue_.empty(); }

  // Waits for commands, not longer than `wait`, and takes those up to the first that moves files. False: the store
  // closes and nothing is left.
  bool TakeRound(absl::Duration wait, std::vector<Command>* round) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(this, &SqliteStatisticsStore::HasWork), wait);
    while (!queue_.empty()) {
      round->push_back(std::move(queue_.front()));
      queue_.pop_front();
      if (round->back().moves_files()) break;
    }
    return !round->empty() || !closing_;
  }

  void Run() {
    StatisticsWriters writers(folder_, clock_, executor_, max_open_);
    std::vector<Command> round;
    while (TakeRound(writers.UntilMaintenance(), &round)) {
      WriteRound(round, writers);
      for (Command& command : round) Finish(command, round.back(), writers);
      round.clear();
      writers.Maintain();
    }
  }

  // One transaction for each job of the round.
  void WriteRound(std::vector<Command>& round, StatisticsWriters& writers) {
    std::map<absl::string_view, std::vector<Command*>> by_job;
    for (Command& command : round) {
      if (command.kind == Command::Kind::kAppend && command.status.ok()) by_job[command.uid].push_back(&command);
    }
    for (auto& [uid, appends] : by_job) {
      std::vector<const std::vector<EncodedReport>*> reports;
      for (const Command* append : appends) reports.push_back(&append->reports);
      const absl::Status status = AboutJob(uid, writers.Write(uid, reports));
      for (Command* append : appends) append->status = status;
    }
  }

  // `last`: of the round.
  void Finish(Command& command, const Command& last, StatisticsWriters& writers) {
    const bool begins_anew = last.uid == command.uid && last.moves_files();
    switch (command.kind) {
      case Command::Kind::kAppend:
        command.append_done(command.status, std::move(command.reports));
        if (!command.status.ok() && !begins_anew) FailQueued(command.uid, command.status);
        return;
      case Command::Kind::kBarrier:
        return command.done();
      case Command::Kind::kRemove:
        writers.Remove(command.uid, std::move(command.done));
        return readers_.Drop(command.uid);
      case Command::Kind::kSetAside:
        writers.SetAside(command.uid);
        return readers_.Drop(command.uid);
      case Command::Kind::kSweep:
        readers_.Drop(command.uid);
        return writers.Sweep(command.uid);
    }
  }

  // Whoever appends knows now that an append has failed; what was queued before that would leave a gap before it. What
  // comes behind a new beginning would not.
  void FailQueued(absl::string_view uid, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    for (Command& command : queue_) {
      if (command.uid != uid) continue;
      if (command.moves_files()) return;
      if (command.kind == Command::Kind::kAppend) command.status = status;
    }
  }

  const std::string folder_;
  const size_t max_open_;
  const core::Clock* const clock_;
  InlineExecutor in_place_;
  Executor* const executor_;
  ReaderPool<StatisticsReader> readers_;

  absl::Mutex mutex_;
  std::deque<Command> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StatisticsStore>> StatisticsStore::Open(const std::string& folder,
                                                                       const core::Clock* clock, Executor* executor,
                                                                       int max_open) {
  GW_RETURN_IF_ERROR(MakeFolder(folder));
  return std::make_unique<SqliteStatisticsStore>(folder, clock, executor, max_open);
}

}  // namespace gradwatch::server
