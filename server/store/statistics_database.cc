#include "server/store/statistics_database.h"

#include <zlib.h>

#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/store/report_codec.h"

namespace gradwatch::server {
namespace {

// Large enough that a row costs little against its content, small enough that a reader of one step reads little else.
constexpr size_t kMaxBatchBytes = size_t{256} << 10;

// Batches of an attempt do not share steps, so their order by last step is the order of steps. previous_step was the
// last one stored before when the batch was written, -1: none; it may be lower than what lies before by now, never
// higher. One tree, so that a key and its content cannot be parted.
constexpr char kVersion2[] = R"sql(
CREATE TABLE batches (
  attempt       INTEGER NOT NULL,
  last_step     INTEGER NOT NULL,
  first_step    INTEGER NOT NULL,
  previous_step INTEGER NOT NULL,
  key_crc       INTEGER NOT NULL,
  crc           INTEGER NOT NULL,
  reports       BLOB NOT NULL,
  PRIMARY KEY (attempt, last_step)
) STRICT, WITHOUT ROWID;
)sql";

const DatabaseFormat& StatisticsFormat() {
  static const auto* const format = new DatabaseFormat{
      .application_id = 0x67775331,  // "gwS1"
      .synchronous = "NORMAL",
      .check_up_to = 0,  // every batch has its checksums
      .oldest = 2,
      .migrations = {kVersion2},
  };
  return *format;
}

// The columns of a batch but its reports, in the order in which statements below have them.
struct Key {
  int32_t attempt = 0;
  int64_t last_step = 0;
  int64_t first_step = 0;
  int64_t previous_step = -1;
};

int64_t Checksum(int64_t start, absl::string_view bytes) {
  if (bytes.empty()) return start;  // zlib takes a null pointer for a new beginning
  return static_cast<int64_t>(
      crc32_z(static_cast<uLong>(start), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

int64_t KeyChecksum(const Key& key) {
  return Checksum(0, absl::StrCat(key.attempt, "/", key.first_step, "/", key.last_step, "/", key.previous_step, "/"));
}

// The key in the first columns. Nothing: what stands there was never written so.
std::optional<Key> ReadKey(SQLite::Statement& statement) {
  const Key key{statement.getColumn(0).getInt(), statement.getColumn(1).getInt64(), statement.getColumn(2).getInt64(),
                statement.getColumn(3).getInt64()};
  if (statement.getColumn(4).getInt64() != KeyChecksum(key)) return std::nullopt;
  return key;
}

// The entries of a batch with this key; a lost range over all of it if they are damaged.
std::vector<EncodedReport> ReadEntries(SQLite::Statement& statement, const Key& key) {
  const int64_t crc = statement.getColumn(5).getInt64();
  const SQLite::Column blob = statement.getColumn(6);
  const auto* const start = static_cast<const char*>(blob.getBlob());
  const absl::string_view bytes(start, static_cast<size_t>(blob.getBytes()));
  if (Checksum(KeyChecksum(key), bytes) == crc) {
    auto entries = SplitReports(key.attempt, bytes);
    if (entries.ok()) return *std::move(entries);
  }
  return {EncodeLost(key.attempt, key.first_step, key.last_step, kDamagedReason)};
}

absl::Status KeyIsDamaged() {
  return core::WithReason(absl::DataLossError("the steps of a stored batch are damaged"), "LOG_CORRUPT");
}

// The entries after a place, put together from batches in the order of their keys.
class Collector {
 public:
  Collector(int32_t attempt, int64_t step, size_t max_bytes) : attempt_(attempt), step_(step), max_bytes_(max_bytes) {}

  bool full() const { return !entries_.empty() && (over_ || bytes_ >= max_bytes_); }

  // Takes what is new of a batch. A page that SQLite comes by twice brings nothing new.
  void Add(const Key& key, std::vector<EncodedReport> entries) {
    if (key.attempt < attempt_) return;
    if (key.attempt > attempt_) {
      attempt_ = key.attempt;
      step_ = -1;
    }
    if (key.previous_step > step_ && key.previous_step < key.first_step) {
      Take(EncodeLost(attempt_, step_ + 1, key.previous_step, kDamagedReason));
    }
    for (EncodedReport& entry : entries) {
      if (entry.step <= step_) continue;
      Take(entry.lost ? CutLost(entry, step_ + 1, entry.step) : std::move(entry));
    }
  }

  std::vector<EncodedReport> entries() && { return std::move(entries_); }
  bool empty() const { return entries_.empty(); }

 private:
  void Take(EncodedReport entry) {
    over_ = over_ || (!entries_.empty() && bytes_ + entry.bytes->size() > max_bytes_);
    if (over_) return;
    step_ = entry.step;
    bytes_ += entry.bytes->size();
    entries_.push_back(std::move(entry));
  }

  int32_t attempt_;
  int64_t step_;  // the last one taken
  const size_t max_bytes_;
  size_t bytes_ = 0;
  bool over_ = false;  // the next entry would be too much
  std::vector<EncodedReport> entries_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StatisticsWriter>> StatisticsWriter::Open(const std::string& path) {
  GW_ASSIGN_OR_RETURN(auto connection, WriterConnection::Open(path, StatisticsFormat()));
  return CatchSqlite("open the statistics", [&]() -> absl::StatusOr<std::unique_ptr<StatisticsWriter>> {
    return std::make_unique<StatisticsWriter>(std::move(connection));
  });
}

StatisticsWriter::StatisticsWriter(std::unique_ptr<WriterConnection> connection)
    : connection_(std::move(connection)),
      insert_(connection_->database(),
              "INSERT INTO batches (attempt, last_step, first_step, previous_step, key_crc, crc, reports) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
      overlap_(connection_->database(),
               "SELECT attempt, last_step, first_step, previous_step, key_crc, crc, reports FROM batches "
               "WHERE attempt = ?1 AND last_step >= ?2 ORDER BY last_step"),
      delete_(connection_->database(), "DELETE FROM batches WHERE attempt = ?1 AND last_step = ?2"),
      before_(connection_->database(),
              "SELECT attempt, last_step, first_step, previous_step, key_crc FROM batches "
              "WHERE attempt = ?1 AND last_step < ?2 ORDER BY last_step DESC LIMIT 1") {}

absl::Status StatisticsWriter::Write(const std::vector<const std::vector<EncodedReport>*>& reports) {
  absl::Status status = CatchSqlite("store statistics", [&]() -> absl::Status {
    connection_->database().exec("BEGIN IMMEDIATE");
    GW_RETURN_IF_ERROR(WriteInTransaction(reports));
    connection_->database().exec("COMMIT");
    return absl::OkStatus();
  });
  // Where SQLite has rolled back by itself, this says so, which is no news.
  if (!status.ok()) connection_->database().tryExec("ROLLBACK");
  return status;
}

absl::Status StatisticsWriter::WriteInTransaction(const std::vector<const std::vector<EncodedReport>*>& reports) {
  std::vector<EncodedReport> batch;
  size_t bytes = 0;
  for (const std::vector<EncodedReport>* append : reports) {
    for (const EncodedReport& report : *append) {
      const bool fits = batch.empty() || (report.attempt == batch.back().attempt &&
                                          report.first_step > batch.back().step && bytes < kMaxBatchBytes);
      if (!fits) {
        GW_RETURN_IF_ERROR(PutBatch(batch));
        batch.clear();
        bytes = 0;
      }
      batch.push_back(report);  // shares the bytes
      bytes += report.bytes->size();
    }
  }
  return batch.empty() ? absl::OkStatus() : PutBatch(batch);
}

absl::Status StatisticsWriter::PutBatch(const std::vector<EncodedReport>& batch) {
  GW_ASSIGN_OR_RETURN(const std::vector<EncodedReport> old, TakeOverlap(batch));
  if (old.empty()) return Insert(batch);
  std::vector<EncodedReport> part;
  size_t bytes = 0;
  for (EncodedReport& entry : MergeReports(old, batch)) {
    bytes += entry.bytes->size();
    part.push_back(std::move(entry));
    if (bytes < kMaxBatchBytes) continue;
    GW_RETURN_IF_ERROR(Insert(part));
    part.clear();
    bytes = 0;
  }
  return part.empty() ? absl::OkStatus() : Insert(part);
}

absl::StatusOr<std::vector<EncodedReport>> StatisticsWriter::TakeOverlap(const std::vector<EncodedReport>& batch) {
  const int32_t attempt = batch.front().attempt;
  std::vector<EncodedReport> entries;
  std::vector<int64_t> keys;
  {
    StatementUse use(overlap_);
    use->bind(1, attempt);
    use->bind(2, batch.front().first_step);
    while (use->executeStep()) {
      const std::optional<Key> key = ReadKey(overlap_);
      if (!key.has_value()) return KeyIsDamaged();
      if (key->first_step > batch.back().step) break;
      keys.push_back(key->last_step);
      std::vector<EncodedReport> stored = ReadEntries(overlap_, *key);
      std::move(stored.begin(), stored.end(), std::back_inserter(entries));
    }
  }
  for (const int64_t key : keys) {
    StatementUse use(delete_);
    use->bind(1, attempt);
    use->bind(2, key);
    use->exec();
  }
  return entries;
}

absl::StatusOr<int64_t> StatisticsWriter::StepBefore(int32_t attempt, int64_t step) {
  StatementUse use(before_);
  use->bind(1, attempt);
  use->bind(2, step);
  if (!use->executeStep()) return -1;
  const std::optional<Key> key = ReadKey(before_);
  if (!key.has_value()) return KeyIsDamaged();
  return key->last_step;
}

absl::Status StatisticsWriter::Insert(const std::vector<EncodedReport>& batch) {
  std::string bytes;
  for (const EncodedReport& entry : batch) bytes += *entry.bytes;
  Key key{batch.front().attempt, batch.back().step, batch.front().first_step};
  GW_ASSIGN_OR_RETURN(key.previous_step, StepBefore(key.attempt, key.first_step));
  StatementUse use(insert_);
  use->bind(1, key.attempt);
  use->bind(2, key.last_step);
  use->bind(3, key.first_step);
  use->bind(4, key.previous_step);
  use->bind(5, KeyChecksum(key));
  use->bind(6, Checksum(KeyChecksum(key), bytes));
  BindBlob(insert_, 7, bytes);
  use->exec();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StatisticsReader>> StatisticsReader::Open(const std::string& path) {
  GW_ASSIGN_OR_RETURN(auto database, OpenReader(path, StatisticsFormat()));
  return CatchSqlite("open the statistics", [&]() -> absl::StatusOr<std::unique_ptr<StatisticsReader>> {
    return std::make_unique<StatisticsReader>(std::move(database));
  });
}

StatisticsReader::StatisticsReader(std::unique_ptr<SQLite::Database> database)
    : database_(std::move(database)),
      after_(*database_,
             "SELECT attempt, last_step, first_step, previous_step, key_crc, crc, reports FROM batches "
             "WHERE (attempt, last_step) > (?1, ?2) ORDER BY attempt, last_step"),
      last_step_(*database_,
                 "SELECT attempt, last_step, first_step, previous_step, key_crc FROM batches WHERE attempt = ?1 "
                 "ORDER BY last_step DESC LIMIT 1"),
      first_(*database_, "SELECT attempt FROM batches ORDER BY attempt, last_step LIMIT 1") {}

// Rows that lie in a part of the file that was cut off or zeroed have no key; such come first.
absl::Status StatisticsReader::CheckEmpty() {
  StatementUse use(first_);
  return use->executeStep() && use->getColumn(0).isNull() ? KeyIsDamaged() : absl::OkStatus();
}

absl::StatusOr<std::vector<EncodedReport>> StatisticsReader::ReadAfter(int32_t attempt, int64_t step,
                                                                       size_t max_bytes) {
  Collector collector(attempt, step, max_bytes);
  const absl::Status status = CatchSqlite("read statistics", [&]() -> absl::Status {
    StatementUse use(after_);
    use->bind(1, attempt);
    use->bind(2, step);
    // A batch whose key is damaged is passed over: the next one tells what is missing.
    absl::Status passed_over;
    while (!collector.full() && use->executeStep()) {
      const std::optional<Key> key = ReadKey(after_);
      passed_over = key.has_value() ? absl::OkStatus() : KeyIsDamaged();
      if (key.has_value()) collector.Add(*key, ReadEntries(after_, *key));
    }
    return collector.empty() && passed_over.ok() ? CheckEmpty() : passed_over;
  });
  // What lies before the damage is given first.
  if (!status.ok() && collector.empty()) return status;
  return std::move(collector).entries();
}

absl::StatusOr<int64_t> StatisticsReader::LastStep(int32_t attempt) {
  return CatchSqlite("read the last step", [&]() -> absl::StatusOr<int64_t> {
    StatementUse use(last_step_);
    use->bind(1, attempt);
    if (!use->executeStep()) {
      GW_RETURN_IF_ERROR(CheckEmpty());
      return -1;
    }
    const std::optional<Key> key = ReadKey(last_step_);
    if (!key.has_value()) return KeyIsDamaged();
    return key->last_step;
  });
}

}  // namespace gradwatch::server
