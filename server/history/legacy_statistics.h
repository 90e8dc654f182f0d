// Statistics as they were stored before: a SQLite database a job. They are read once, and moved into the store.
#ifndef GRADWATCH_SERVER_HISTORY_LEGACY_STATISTICS_H_
#define GRADWATCH_SERVER_HISTORY_LEGACY_STATISTICS_H_

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/history/encoded_report.h"
#include "server/history/statistics_store.h"
#include "server/store/sqlite.h"

namespace gradwatch::server {

// The checksums of a row: of its key, and of all of it.
int64_t LegacyKeyChecksum(int32_t attempt, int64_t first_step, int64_t last_step, int64_t previous_step);
int64_t LegacyChecksum(int64_t key_checksum, absl::string_view reports);

// Reads one database. Used by one thread at a time.
class LegacyStatistics {
 public:
  // DATA_LOSS: it is none that can be used; else errors as OpenReader.
  static absl::StatusOr<std::unique_ptr<LegacyStatistics>> Open(const std::string& path);
  // Use Open. Throws as SQLiteCpp does.
  explicit LegacyStatistics(std::unique_ptr<SQLite::Database> database);

  // Calls `each` for every batch in the order of steps, with what is damaged, or has vanished before it, as lost
  // ranges, until it returns an error. What stands there without a key that holds is passed over: `passed_over` becomes
  // true.
  absl::Status ForEachBatch(absl::FunctionRef<absl::Status(std::vector<EncodedReport>)> each, bool* passed_over);

 private:
  const std::unique_ptr<SQLite::Database> database_;
  SQLite::Statement all_;
};

// Moves all databases of `folder` into the store, one job after the other, and removes each that is there; the folder
// too, when it is empty. What is stored of a job already, of a migration that was cut off, is stored once more. A
// database that cannot be used is kept as UID.db.damaged, and told in the log. The first error of the store ends it,
// and so, with CANCELLED, does `is_stopped`, which is asked between two appends; the next start goes on. Not while
// anybody appends.
absl::Status MoveLegacyStatistics(
    const std::string& folder, StatisticsStore* store, absl::FunctionRef<bool()> is_stopped = [] { return false; });

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_LEGACY_STATISTICS_H_
