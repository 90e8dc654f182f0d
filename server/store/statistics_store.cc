#include "server/store/statistics_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"
#include "server/store/reader_pool.h"
#include "server/store/statistics_database.h"

namespace gradwatch::server {
namespace {

// An open database holds three files; jobs that report at once are far fewer than this.
constexpr size_t kMaxOpen = 32;
constexpr size_t kMaxIdleReaders = 32;
constexpr absl::Duration kCloseAfter = absl::Seconds(30);
// What the loss of power may cost: only a checkpoint syncs.
constexpr absl::Duration kCheckpointEvery = absl::Seconds(1);
// Pages in a write-ahead log from which on it is moved into the file at once; 16 MiB.
constexpr int kCheckpointPages = 4000;

// One thing to do; `uid` is empty for a barrier.
struct Command {
  enum class Kind { kAppend, kBarrier, kRemove };
  Kind kind = Kind::kAppend;
  std::string uid = {};
  std::vector<EncodedReport> reports = {};
  StatisticsStore::AppendDone append_done = {};
  absl::AnyInvocable<void()> barrier_done = {};
  absl::Status status = {};  // of an append
};

// Names the job in an error about its database.
absl::Status Annotate(absl::string_view uid, const absl::Status& status) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat("statistics of job ", uid, ": ", status.message()));
  status.ForEachPayload(
      [&annotated](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

class SqliteStatisticsStore final : public StatisticsStore {
 public:
  explicit SqliteStatisticsStore(std::string folder) : folder_(std::move(folder)), readers_(kMaxIdleReaders) {
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
    Queue({.kind = Command::Kind::kBarrier, .barrier_done = std::move(done)});
  }

  void Remove(absl::string_view uid) override { Queue({.kind = Command::Kind::kRemove, .uid = std::string(uid)}); }

  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                       size_t max_bytes) override {
    return Read<std::vector<EncodedReport>>(
        uid, {}, [&](StatisticsReader& reader) { return reader.ReadAfter(attempt, step, max_bytes); });
  }

  absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) override {
    return Read<int64_t>(uid, -1, [&](StatisticsReader& reader) { return reader.LastStep(attempt); });
  }

 private:
  // A database that was written to not long ago.
  struct Open {
    std::string uid;
    std::unique_ptr<StatisticsWriter> writer;
    absl::Duration used;   // monotonic time
    bool written = false;  // since the last checkpoint
  };

  void Queue(Command command) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    queue_.push_back(std::move(command));
  }

  absl::StatusOr<std::string> PathOf(absl::string_view uid) const {
    const bool valid = !uid.empty() && uid.size() <= 128 && std::all_of(uid.begin(), uid.end(), [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
    });
    if (!valid) return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(uid), "\" is no uid of a job"));
    return absl::StrCat(folder_, "/", uid, ".db");
  }

  // What `body` reads, or `none` where the job has no statistics.
  template <typename T, typename Body>
  absl::StatusOr<T> Read(absl::string_view uid, T none, Body body) {
    GW_ASSIGN_OR_RETURN(const std::string path, PathOf(uid));
    absl::StatusOr<T> result = readers_.Use(
        uid, [&path] { return StatisticsReader::Open(path); }, body);
    if (absl::IsNotFound(result.status())) return none;
    if (!result.ok()) return Annotate(uid, result.status());
    return result;
  }

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !queue_.empty(); }

  // Waits for commands, not longer than until the next checkpoint, and takes those up to the first removal. False: the
  // store closes and nothing is left.
  bool TakeRound(std::vector<Command>* round) ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::Duration wait =
        open_.empty() ? absl::InfiniteDuration() : next_checkpoint_ - core::RealClock().Monotonic();
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(this, &SqliteStatisticsStore::HasWork), wait);
    while (!queue_.empty()) {
      round->push_back(std::move(queue_.front()));
      queue_.pop_front();
      if (round->back().kind == Command::Kind::kRemove) break;
    }
    return !round->empty() || !closing_;
  }

  void Run() {
    std::vector<Command> round;
    while (TakeRound(&round)) {
      WriteRound(round);
      for (Command& command : round) Finish(command);
      round.clear();
      Maintain();
    }
    for (Open& open : open_) CheckpointIfWritten(open);
    open_.clear();
  }

  // One transaction for each job of the round.
  void WriteRound(std::vector<Command>& round) {
    std::map<absl::string_view, std::vector<Command*>> by_job;
    for (Command& command : round) {
      if (command.kind == Command::Kind::kAppend) by_job[command.uid].push_back(&command);
    }
    for (auto& [uid, appends] : by_job) {
      const absl::Status status = Annotate(uid, WriteJob(uid, appends));
      for (Command* append : appends) append->status = status;
    }
  }

  absl::Status WriteJob(absl::string_view uid, const std::vector<Command*>& appends) {
    GW_ASSIGN_OR_RETURN(auto* const open, OpenWriter(uid));
    std::vector<const std::vector<EncodedReport>*> reports;
    for (const Command* append : appends) reports.push_back(&append->reports);
    open->written = true;
    const absl::Status status = open->writer->Write(reports);
    // The next append opens the file anew, which may be what helps.
    if (!status.ok()) open_.pop_front();
    return status;
  }

  void Finish(Command& command) {
    switch (command.kind) {
      case Command::Kind::kAppend:
        command.append_done(command.status, std::move(command.reports));
        break;
      case Command::Kind::kBarrier:
        command.barrier_done();
        break;
      case Command::Kind::kRemove:
        RemoveFiles(command.uid);
        break;
    }
  }

  void RemoveFiles(absl::string_view uid) {
    const absl::StatusOr<std::string> path = PathOf(uid);
    if (!path.ok()) return;
    open_.remove_if([uid](const Open& open) { return open.uid == uid; });
    readers_.Drop(uid);
    for (const absl::string_view suffix : {"", "-wal", "-shm"}) {
      std::error_code error;
      std::filesystem::remove(absl::StrCat(*path, suffix), error);
      if (error) spdlog::error("cannot remove {}{}: {}", *path, std::string(suffix), error.message());
    }
  }

  // The writer of a job, moved to the front of those that are open.
  absl::StatusOr<Open*> OpenWriter(absl::string_view uid) {
    auto found = std::find_if(open_.begin(), open_.end(), [uid](const Open& open) { return open.uid == uid; });
    if (found == open_.end()) {
      GW_ASSIGN_OR_RETURN(const std::string path, PathOf(uid));
      GW_ASSIGN_OR_RETURN(auto writer, StatisticsWriter::Open(path));
      if (open_.size() >= kMaxOpen) {
        CheckpointIfWritten(open_.back());
        open_.pop_back();
      }
      if (open_.empty()) next_checkpoint_ = core::RealClock().Monotonic() + kCheckpointEvery;
      open_.push_back({std::string(uid), std::move(writer), absl::ZeroDuration()});
      found = std::prev(open_.end());
    }
    open_.splice(open_.begin(), open_, found);
    found->used = core::RealClock().Monotonic();
    return &*found;
  }

  void CheckpointIfWritten(Open& open) {
    if (!open.written) return;
    const absl::StatusOr<bool> complete = open.writer->connection().Checkpoint();
    if (!complete.ok()) spdlog::error("{}", Annotate(open.uid, complete.status()).ToString());
    open.written = !complete.value_or(false);
  }

  void Maintain() {
    const absl::Duration now = core::RealClock().Monotonic();
    const bool due = now >= next_checkpoint_;
    if (due) next_checkpoint_ = now + kCheckpointEvery;
    for (Open& open : open_) {
      if (due || open.writer->connection().wal_pages() >= kCheckpointPages) CheckpointIfWritten(open);
    }
    if (due) open_.remove_if([now](const Open& open) { return now - open.used > kCloseAfter; });
  }

  const std::string folder_;
  ReaderPool<StatisticsReader> readers_;

  // The thread's:
  std::list<Open> open_;  // the last used first
  absl::Duration next_checkpoint_ = absl::ZeroDuration();

  absl::Mutex mutex_;
  std::deque<Command> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StatisticsStore>> StatisticsStore::Open(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot make the folder ", folder, ": ", error.message()));
  return std::make_unique<SqliteStatisticsStore>(folder);
}

}  // namespace gradwatch::server
