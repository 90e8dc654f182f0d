#include "server/store/statistics_database.h"

#include <zlib.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/store/report_codec.h"

namespace gradwatch::server {
namespace {

// Large enough that a row costs little against its content, small enough that a reader of one step reads little else.
constexpr size_t kMaxBatchBytes = size_t{256} << 10;

// Batches of an attempt do not share steps, so their order by last step is the order of steps.
constexpr char kVersion1[] = R"sql(
CREATE TABLE batches (
  attempt    INTEGER NOT NULL,
  last_step  INTEGER NOT NULL,
  first_step INTEGER NOT NULL,
  crc        INTEGER NOT NULL,
  reports    BLOB NOT NULL,
  PRIMARY KEY (attempt, last_step)
) STRICT;
)sql";

const DatabaseFormat& StatisticsFormat() {
  static const auto* const format = new DatabaseFormat{
      .application_id = 0x67775331,  // "gwS1"
      .synchronous = "NORMAL",
      .check_at_open = false,  // files grow large; every batch has a checksum
      .migrations = {kVersion1},
  };
  return *format;
}

// Over the key and the reports, since SQLite does not check its pages.
int64_t Checksum(int32_t attempt, int64_t first_step, int64_t last_step, const void* reports, size_t size) {
  const std::string key = absl::StrCat(attempt, "/", first_step, "/", last_step, "/");
  const uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(key.data()), key.size());
  return static_cast<int64_t>(crc32_z(crc, static_cast<const Bytef*>(reports), size));
}

// The reports of a row of attempt, first_step, last_step, crc, reports.
absl::StatusOr<std::vector<EncodedReport>> ReadBatch(SQLite::Statement& statement) {
  const int32_t attempt = statement.getColumn(0).getInt();
  const int64_t first_step = statement.getColumn(1).getInt64();
  const int64_t last_step = statement.getColumn(2).getInt64();
  const int64_t crc = statement.getColumn(3).getInt64();
  const SQLite::Column blob = statement.getColumn(4);
  const absl::string_view bytes(static_cast<const char*>(blob.getBlob()), blob.getBytes());
  if (Checksum(attempt, first_step, last_step, bytes.data(), bytes.size()) == crc) {
    auto reports = SplitReports(attempt, bytes);
    if (reports.ok()) return reports;
  }
  return core::WithReason(
      absl::DataLossError(absl::StrCat("attempt ", attempt, ", steps ", first_step, " to ", last_step, " are damaged")),
      "LOG_CORRUPT");
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
              "INSERT INTO batches (attempt, first_step, last_step, crc, reports) VALUES (?1, ?2, ?3, ?4, ?5)"),
      overlap_(connection_->database(),
               "SELECT attempt, first_step, last_step, crc, reports FROM batches "
               "WHERE attempt = ?1 AND last_step >= ?2 AND first_step <= ?3 ORDER BY last_step"),
      delete_(connection_->database(),
              "DELETE FROM batches WHERE attempt = ?1 AND last_step >= ?2 AND first_step <= ?3") {}

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
  Reports batch;
  size_t bytes = 0;
  for (const std::vector<EncodedReport>* append : reports) {
    for (const EncodedReport& report : *append) {
      const bool fits = batch.empty() || (report.attempt == batch.back()->attempt && report.step > batch.back()->step &&
                                          bytes < kMaxBatchBytes);
      if (!fits) {
        GW_RETURN_IF_ERROR(PutBatch(batch));
        batch.clear();
        bytes = 0;
      }
      batch.push_back(&report);
      bytes += report.bytes.size();
    }
  }
  return batch.empty() ? absl::OkStatus() : PutBatch(batch);
}

absl::Status StatisticsWriter::PutBatch(const Reports& batch) {
  GW_ASSIGN_OR_RETURN(const std::vector<EncodedReport> old, TakeOverlap(batch));
  if (old.empty()) {
    Insert(batch);
    return absl::OkStatus();
  }
  std::map<int64_t, const EncodedReport*> merged;
  for (const EncodedReport& report : old) merged[report.step] = &report;
  for (const EncodedReport* report : batch) merged[report->step] = report;
  Reports part;
  size_t bytes = 0;
  for (const auto& [step, report] : merged) {
    part.push_back(report);
    bytes += report->bytes.size();
    if (bytes < kMaxBatchBytes) continue;
    Insert(part);
    part.clear();
    bytes = 0;
  }
  if (!part.empty()) Insert(part);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EncodedReport>> StatisticsWriter::TakeOverlap(const Reports& batch) {
  const auto bind = [&batch](StatementUse& use) {
    use->bind(1, batch.front()->attempt);
    use->bind(2, batch.front()->step);
    use->bind(3, batch.back()->step);
  };
  std::vector<EncodedReport> reports;
  {
    StatementUse use(overlap_);
    bind(use);
    while (use->executeStep()) {
      GW_ASSIGN_OR_RETURN(std::vector<EncodedReport> stored, ReadBatch(overlap_));
      std::move(stored.begin(), stored.end(), std::back_inserter(reports));
    }
  }
  if (!reports.empty()) {
    StatementUse use(delete_);
    bind(use);
    use->exec();
  }
  return reports;
}

void StatisticsWriter::Insert(const Reports& batch) {
  std::string bytes;
  for (const EncodedReport* report : batch) bytes += report->bytes;
  const int32_t attempt = batch.front()->attempt;
  const int64_t first_step = batch.front()->step;
  const int64_t last_step = batch.back()->step;
  StatementUse use(insert_);
  use->bind(1, attempt);
  use->bind(2, first_step);
  use->bind(3, last_step);
  use->bind(4, Checksum(attempt, first_step, last_step, bytes.data(), bytes.size()));
  BindBlob(insert_, 5, bytes);
  use->exec();
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
             "SELECT attempt, first_step, last_step, crc, reports FROM batches "
             "WHERE (attempt, last_step) > (?1, ?2) ORDER BY attempt, last_step"),
      last_step_(*database_, "SELECT coalesce(max(last_step), -1) FROM batches WHERE attempt = ?1") {}

absl::StatusOr<std::vector<EncodedReport>> StatisticsReader::ReadAfter(int32_t attempt, int64_t step,
                                                                       size_t max_bytes) {
  return CatchSqlite("read statistics", [&]() -> absl::StatusOr<std::vector<EncodedReport>> {
    StatementUse use(after_);
    use->bind(1, attempt);
    use->bind(2, step);
    std::vector<EncodedReport> reports;
    size_t bytes = 0;
    while ((reports.empty() || bytes < max_bytes) && use->executeStep()) {
      GW_ASSIGN_OR_RETURN(std::vector<EncodedReport> batch, ReadBatch(after_));
      for (EncodedReport& report : batch) {
        if (report.attempt == attempt && report.step <= step) continue;
        if (!reports.empty() && bytes + report.bytes.size() > max_bytes) return reports;
        bytes += report.bytes.size();
        reports.push_back(std::move(report));
      }
    }
    return reports;
  });
}

absl::StatusOr<int64_t> StatisticsReader::LastStep(int32_t attempt) {
  return CatchSqlite("read the last step", [&]() -> absl::StatusOr<int64_t> {
    StatementUse use(last_step_);
    use->bind(1, attempt);
    use->executeStep();
    return use->getColumn(0).getInt64();
  });
}

}  // namespace gradwatch::server
