// A row of statistics: its key, its checksums, and what is told where they do not hold.
//
// SQLite does not check its pages. So a row has a checksum of its key and one of all of it, and its key says which step
// came before, so that a reader knows of rows that have vanished with a damaged page.
#ifndef GRADWATCH_SERVER_STORE_STATISTICS_BATCH_H_
#define GRADWATCH_SERVER_STORE_STATISTICS_BATCH_H_

#include <SQLiteCpp/Statement.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/store/statistics_store.h"

namespace gradwatch::server {

// Statements have these columns in this order, then key_crc, crc and reports.
struct BatchKey {
  int32_t attempt = 0;
  int64_t last_step = 0;
  int64_t first_step = 0;
  // The last step stored before when the batch was written, -1: none. It may be lower than what lies before by now,
  // never higher.
  int64_t previous_step = -1;
};

// What is stored in key_crc, and in crc.
int64_t KeyChecksum(const BatchKey& key);
int64_t BatchChecksum(const BatchKey& key, absl::string_view reports);

// The key of the present row. Nothing: what stands there was never written so.
std::optional<BatchKey> ReadKey(SQLite::Statement& statement);
// What ends a call that needs such a key: DATA_LOSS, reason LOG_CORRUPT.
absl::Status KeyIsDamaged();
// The entries of the present row, whose key was read; a lost range over all of it if they are damaged.
std::vector<EncodedReport> ReadEntries(SQLite::Statement& statement, const BatchKey& key);

// Puts together the entries after (attempt, step), of about `max_bytes`, from batches in the order of their keys.
class BatchCollector {
 public:
  BatchCollector(int32_t attempt, int64_t step, size_t max_bytes)
      : attempt_(attempt), step_(step), max_bytes_(max_bytes) {}

  // Takes what is new of a batch, and tells what is missing before it. A page that SQLite comes by twice brings nothing
  // new.
  void Add(const BatchKey& key, std::vector<EncodedReport> entries);

  bool full() const { return !entries_.empty() && (over_ || bytes_ >= max_bytes_); }
  bool empty() const { return entries_.empty(); }
  std::vector<EncodedReport> Take() && { return std::move(entries_); }

 private:
  void Put(EncodedReport entry);

  int32_t attempt_;
  int64_t step_;  // the last one taken
  const size_t max_bytes_;
  size_t bytes_ = 0;
  bool over_ = false;  // the next entry would be too much
  std::vector<EncodedReport> entries_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_STATISTICS_BATCH_H_
