// The database of one job's statistics: reports and lost ranges in batches.
#ifndef GRADWATCH_SERVER_STORE_STATISTICS_DATABASE_H_
#define GRADWATCH_SERVER_STORE_STATISTICS_DATABASE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/sqlite.h"
#include "server/store/statistics_store.h"

namespace gradwatch::server {

// Writes. Not thread-safe.
class StatisticsWriter {
 public:
  // Opens or makes the database; errors as WriterConnection::Open.
  static absl::StatusOr<std::unique_ptr<StatisticsWriter>> Open(const std::string& path);
  // Use Open. Throws as SQLiteCpp does.
  explicit StatisticsWriter(std::unique_ptr<WriterConnection> connection);

  // Stores all of it in one transaction, in order; see StatisticsStore::Append.
  absl::Status Write(const std::vector<const std::vector<EncodedReport>*>& reports);
  WriterConnection& connection() { return *connection_; }

 private:
  absl::Status WriteInTransaction(const std::vector<const std::vector<EncodedReport>*>& reports);
  // Stores entries of one attempt with rising steps.
  absl::Status PutBatch(const std::vector<EncodedReport>& batch);
  // Takes the stored batches that share steps with `batch` out of the database. One whose key is damaged, where `batch`
  // goes or behind it, goes too; what it may have held before `batch` is lost.
  absl::StatusOr<std::vector<EncodedReport>> TakeOverlap(const std::vector<EncodedReport>& batch);
  absl::Status Insert(const std::vector<EncodedReport>& batch);
  // The last step stored before `step`; -1: none.
  absl::StatusOr<int64_t> StepBefore(int32_t attempt, int64_t step);

  const std::unique_ptr<WriterConnection> connection_;
  SQLite::Statement insert_, overlap_, delete_, before_;
};

// Reads beside the writer. Used by one thread at a time.
class StatisticsReader {
 public:
  // Errors as OpenReader.
  static absl::StatusOr<std::unique_ptr<StatisticsReader>> Open(const std::string& path);
  // Use Open. Throws as SQLiteCpp does.
  explicit StatisticsReader(std::unique_ptr<SQLite::Database> database);

  // As StatisticsStore's calls.
  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(int32_t attempt, int64_t step, size_t max_bytes);
  absl::StatusOr<int64_t> LastStep(int32_t attempt);

 private:
  // Whether it is true that there is nothing.
  absl::Status CheckEmpty();

  const std::unique_ptr<SQLite::Database> database_;
  SQLite::Statement after_, last_step_, first_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_STATISTICS_DATABASE_H_
