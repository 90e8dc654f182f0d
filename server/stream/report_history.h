// Stored reports, read and split once for all watchers that catch up on the same job at about the same time.
#ifndef GRADWATCH_SERVER_STREAM_REPORT_HISTORY_H_
#define GRADWATCH_SERVER_STREAM_REPORT_HISTORY_H_

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/encoding.h"
#include "server/history/encoded_report.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

// Thread-safe.
class ReportHistory {
 public:
  // Keeps at most about `max_bytes` of what was read. `store` outlives it.
  ReportHistory(StatisticsStore* store, size_t max_bytes);

  // What is stored after a place, in order: bytes of many entries, one after the other.
  struct Chunk {
    struct Entry {
      int32_t attempt = 0;
      int64_t first_step = 0, step = 0;  // as EncodedReport
      bool lost = false;
      size_t begin = 0, end = 0;  // in `bytes`
    };
    // What comes after this place.
    int32_t from_attempt = 0;
    int64_t from_step = -1;
    std::vector<Entry> entries;
    SharedBytes bytes;
    // Why the store lost something of it by damage, and of which attempt; empty: it did not.
    std::string damage;
    int32_t damaged_attempt = 0;

    // A copy of one of the entries.
    EncodedReport EntryAt(const Entry& entry) const;
  };
  // A chunk of which some entry comes after (attempt, step), and none that does is missing before it; null: nothing is
  // stored there. Errors as StatisticsStore::ReadAfter.
  absl::StatusOr<std::shared_ptr<const Chunk>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // It is `now` (monotonic), called about every second: what nobody has read for a while is forgotten.
  void Tick(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Kept {
    std::string uid;
    std::shared_ptr<const Chunk> chunk;
    std::optional<absl::Duration> idle_since;  // the first tick since its last use
  };

  std::shared_ptr<const Chunk> Find(absl::string_view uid, int32_t attempt, int64_t step)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Keep(absl::string_view uid, std::shared_ptr<const Chunk> chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // As the next chunks of what comes after a place; the store is asked for more than one of them, since what it reads
  // together is mostly more.
  absl::StatusOr<std::vector<std::shared_ptr<const Chunk>>> Load(absl::string_view uid, int32_t attempt, int64_t step);

  StatisticsStore* const store_;
  const size_t max_bytes_;
  absl::Mutex mutex_;
  std::list<Kept> kept_ ABSL_GUARDED_BY(mutex_);  // the last used first
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_set<std::string> loading_ ABSL_GUARDED_BY(mutex_);  // jobs that a thread reads just now
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_REPORT_HISTORY_H_
