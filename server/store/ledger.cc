#include "server/store/ledger.h"

#include <spdlog/spdlog.h>

#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"
#include "server/store/ledger_transaction.h"
#include "server/store/main_format.h"
#include "server/store/sqlite.h"

namespace gradwatch::server {
namespace {

// A bound, so that the first of a long queue does not wait for the last.
constexpr size_t kMaxGroup = 256;
// Pages in the write-ahead log from which on it is moved into the file when nobody waits, and from which on at once; 4
// and 16 MiB.
constexpr int kCheckpointPages = 1000;
constexpr int kMostPages = 4000;

absl::StatusOr<std::string> ReadLogEpoch(SQLite::Database& database) {
  return CatchSqlite("read the log epoch", [&]() -> absl::StatusOr<std::string> {
    return database.execAndGet("SELECT value FROM meta WHERE key = 'log_epoch'").getString();
  });
}

absl::StatusOr<JobRow> ReadJobRow(SQLite::Statement& statement) {
  JobRow row;
  row.attach_token = statement.getColumn(0).getString();
  row.handle = statement.getColumn(1).getString();
  row.trainer_id = statement.getColumn(2).getString();
  row.acked_notice = statement.getColumn(3).getInt64();
  row.epoch = statement.getColumn(4).getInt64();
  GW_RETURN_IF_ERROR(ParseColumn(statement.getColumn(5), &row.job));
  return row;
}

class SqliteLedger final : public Ledger {
 public:
  // Throws as SQLiteCpp does.
  SqliteLedger(std::string path, std::unique_ptr<WriterConnection> connection, std::string log_epoch,
               const core::Clock* clock)
      : path_(std::move(path)),
        log_epoch_(std::move(log_epoch)),
        clock_(clock),
        connection_(std::move(connection)),
        transaction_(&connection_->database(), clock) {
    thread_ = std::thread([this] {
      core::NameThisThread("ledger");
      Run();
    });
  }

  ~SqliteLedger() override {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
    }
    thread_.join();
  }

  void Submit(Operation operation) override {
    absl::MutexLock lock(&mutex_);
    queue_.push_back(std::move(operation));
  }

  absl::StatusOr<std::vector<JobRow>> LoadJobs() override {
    GW_ASSIGN_OR_RETURN(auto database, OpenReader(path_, MainFormat()));
    return CatchSqlite("load the jobs", [&]() -> absl::StatusOr<std::vector<JobRow>> {
      SQLite::Statement statement(
          *database, "SELECT attach_token, handle, trainer_id, acked_notice, epoch, job FROM jobs ORDER BY sequence");
      std::vector<JobRow> rows;
      while (statement.executeStep()) {
        GW_ASSIGN_OR_RETURN(rows.emplace_back(), ReadJobRow(statement));
      }
      return rows;
    });
  }

  absl::StatusOr<std::vector<v1::Silence>> LoadSilences() override {
    GW_ASSIGN_OR_RETURN(auto database, OpenReader(path_, MainFormat()));
    return CatchSqlite("load the silences", [&]() -> absl::StatusOr<std::vector<v1::Silence>> {
      SQLite::Statement statement(*database, "SELECT silence FROM silences WHERE end_millis > ?1 ORDER BY rowid");
      statement.bind(1, absl::ToUnixMillis(clock_->Now()));
      std::vector<v1::Silence> silences;
      while (statement.executeStep()) GW_RETURN_IF_ERROR(ParseColumn(statement.getColumn(0), &silences.emplace_back()));
      return silences;
    });
  }

  absl::StatusOr<std::vector<Removal>> LoadRemovals() override {
    GW_ASSIGN_OR_RETURN(auto database, OpenReader(path_, MainFormat()));
    return CatchSqlite("load the removals", [&]() -> absl::StatusOr<std::vector<Removal>> {
      SQLite::Statement statement(*database, "SELECT uid, attempts FROM removals");
      std::vector<Removal> removals;
      while (statement.executeStep()) {
        removals.push_back({statement.getColumn(0).getString(), statement.getColumn(1).getInt()});
      }
      return removals;
    });
  }

  const std::string& log_epoch() const override { return log_epoch_; }

 private:
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !queue_.empty(); }

  // Waits for operations; none: the ledger closes.
  std::vector<Operation> TakeGroup() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &SqliteLedger::HasWork));
    std::vector<Operation> group;
    while (!queue_.empty() && group.size() < kMaxGroup) {
      group.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    return group;
  }

  bool HasQuiet() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return queue_.empty();
  }

  void Run() {
    for (;;) {
      std::vector<Operation> group = TakeGroup();
      if (group.empty()) return;
      transaction_.Begin();
      for (Operation& operation : group) transaction_.Execute(operation);
      transaction_.Commit();
      // After the answers, which need not wait for it, and not before what has come meanwhile.
      const int pages = connection_->wal_pages();
      if (pages >= kMostPages || (pages >= kCheckpointPages && HasQuiet())) {
        const absl::Status status = connection_->Checkpoint().status();
        if (!status.ok()) spdlog::error("{}", status.ToString());
      }
    }
  }

  const std::string path_;
  const std::string log_epoch_;
  const core::Clock* const clock_;
  const std::unique_ptr<WriterConnection> connection_;  // the thread's
  SqliteTransaction transaction_;                       // the thread's

  absl::Mutex mutex_;
  std::deque<Operation> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Open(const std::string& path, const core::Clock* clock) {
  GW_ASSIGN_OR_RETURN(auto connection, WriterConnection::Open(path, MainFormat()));
  GW_ASSIGN_OR_RETURN(std::string log_epoch, ReadLogEpoch(connection->database()));
  return CatchSqlite("open the ledger", [&]() -> absl::StatusOr<std::unique_ptr<Ledger>> {
    return std::make_unique<SqliteLedger>(path, std::move(connection), std::move(log_epoch), clock);
  });
}

}  // namespace gradwatch::server
