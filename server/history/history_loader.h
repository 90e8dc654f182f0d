// What a start finds: what every job has, and what lies in no batch yet.
#ifndef GRADWATCH_SERVER_HISTORY_HISTORY_LOADER_H_
#define GRADWATCH_SERVER_HISTORY_HISTORY_LOADER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/clock.h"
#include "server/history/history_database.h"
#include "server/history/history_jobs.h"
#include "server/history/journal.h"

namespace gradwatch::server {

// In the journal: the job was removed, and what comes later of its uid is of another.
JournalPart RemovalPart(absl::string_view uid);
bool IsRemoval(const JournalPart& part);

struct LoadedHistory {
  std::vector<std::pair<uint64_t, int64_t>> records;  // of the journal: number, bytes
  uint64_t first_journal = 1;                         // no record before is there, readable or not
  uint64_t next_journal = 1;
  bool is_damaged = false;  // something of the index or the journal could not be read
};

// Reads the index and the journal into `jobs`, which are empty. Where the index is damaged, it is made again from the
// batches and rows of tiers that are there. Where a record of the journal is, the steps that are missing then are told
// as lost, but for those before the first of a later attempt. Errors as HistoryDatabase.
absl::StatusOr<LoadedHistory> LoadHistory(HistoryDatabase* database, const core::Clock* clock, HistoryJobs* jobs);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_HISTORY_LOADER_H_
