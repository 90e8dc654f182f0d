#include "server/store/statistics_database.h"

#include <iterator>
#include <optional>
#include <utility>

#include "core/base/status_macros.h"
#include "server/store/report_codec.h"
#include "server/store/statistics_batch.h"

namespace gradwatch::server {
namespace {

// Large enough that a row costs little against its content, small enough that a reader of one step reads little else.
constexpr size_t kMaxBatchBytes = size_t{256} << 10;

// Batches of an attempt do not share steps, so their order by last step is the order of steps. One tree, so that a key
// and its content cannot be parted. See BatchKey.
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
  const int64_t first_step = batch.front().first_step;
  std::vector<EncodedReport> entries;
  std::vector<int64_t> rows;  // their last steps, as they stand there
  bool damaged = false;
  {
    StatementUse use(overlap_);
    use->bind(1, attempt);
    use->bind(2, first_step);
    while (use->executeStep()) {
      const std::optional<BatchKey> key = ReadKey(overlap_);
      if (key.has_value() && key->first_step > batch.back().step) break;
      rows.push_back(use->getColumn(1).getInt64());
      damaged = damaged || !key.has_value();
      if (!key.has_value()) continue;
      std::vector<EncodedReport> stored = ReadEntries(overlap_, *key);
      std::move(stored.begin(), stored.end(), std::back_inserter(entries));
    }
  }
  for (const int64_t last_step : rows) {
    StatementUse use(delete_);
    use->bind(1, attempt);
    use->bind(2, last_step);
    use->exec();
  }
  if (!damaged) return entries;
  GW_ASSIGN_OR_RETURN(const int64_t before, StepBefore(attempt, first_step));
  if (before + 1 < first_step) entries.push_back(EncodeLost(attempt, before + 1, first_step - 1, kDamagedReason));
  return entries;
}

absl::StatusOr<int64_t> StatisticsWriter::StepBefore(int32_t attempt, int64_t step) {
  StatementUse use(before_);
  use->bind(1, attempt);
  use->bind(2, step);
  if (!use->executeStep()) return -1;
  const std::optional<BatchKey> key = ReadKey(before_);
  if (!key.has_value()) return KeyIsDamaged();
  return key->last_step;
}

absl::Status StatisticsWriter::Insert(const std::vector<EncodedReport>& batch) {
  std::string bytes;
  for (const EncodedReport& entry : batch) bytes += *entry.bytes;
  BatchKey key{batch.front().attempt, batch.back().step, batch.front().first_step};
  GW_ASSIGN_OR_RETURN(key.previous_step, StepBefore(key.attempt, key.first_step));
  StatementUse use(insert_);
  use->bind(1, key.attempt);
  use->bind(2, key.last_step);
  use->bind(3, key.first_step);
  use->bind(4, key.previous_step);
  use->bind(5, KeyChecksum(key));
  use->bind(6, BatchChecksum(key, bytes));
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
                 "ORDER BY last_step DESC"),
      first_(*database_, "SELECT attempt FROM batches ORDER BY attempt, last_step LIMIT 1") {}

// Rows that lie in a part of the file that was cut off or zeroed have no key; such come first.
absl::Status StatisticsReader::CheckEmpty() {
  StatementUse use(first_);
  return use->executeStep() && use->getColumn(0).isNull() ? KeyIsDamaged() : absl::OkStatus();
}

absl::StatusOr<std::vector<EncodedReport>> StatisticsReader::ReadAfter(int32_t attempt, int64_t step,
                                                                       size_t max_bytes) {
  BatchCollector collector(attempt, step, max_bytes);
  const absl::Status status = CatchSqlite("read statistics", [&]() -> absl::Status {
    StatementUse use(after_);
    use->bind(1, attempt);
    use->bind(2, step);
    // A batch whose key is damaged is passed over: the next one tells what is missing.
    absl::Status passed_over;
    while (!collector.full() && use->executeStep()) {
      const std::optional<BatchKey> key = ReadKey(after_);
      passed_over = key.has_value() ? absl::OkStatus() : KeyIsDamaged();
      if (key.has_value()) collector.Add(*key, ReadEntries(after_, *key));
    }
    return collector.empty() && passed_over.ok() ? CheckEmpty() : passed_over;
  });
  // What lies before the damage is given first.
  if (!status.ok() && collector.empty()) return status;
  return std::move(collector).Take();
}

absl::StatusOr<int64_t> StatisticsReader::LastStep(int32_t attempt) {
  return CatchSqlite("read the last step", [&]() -> absl::StatusOr<int64_t> {
    StatementUse use(last_step_);
    use->bind(1, attempt);
    while (use->executeStep()) {
      const std::optional<BatchKey> key = ReadKey(last_step_);
      if (key.has_value()) return key->last_step;
    }
    GW_RETURN_IF_ERROR(CheckEmpty());
    return -1;
  });
}

}  // namespace gradwatch::server
