// The silences that hold: as the ledger's thread works on them, and as they were committed.
#ifndef GRADWATCH_SERVER_JOB_SILENCE_TABLE_H_
#define GRADWATCH_SERVER_JOB_SILENCE_TABLE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gradwatch/v1/alert_service.pb.h"

namespace gradwatch::server {

// The order of silences is their time of creation in microseconds, made unique: it is the same after a restart, so that
// pages of a list go on where they were. A silence that has ended counts no more, and goes with the next that is made.
class SilenceTable {
 public:
  // For the ledger's thread. Working silences are changed by operations, and published or taken back after the commit.

  // Those that hold at `now`.
  int Holding(absl::Time now) const;
  // The time for the next silence.
  absl::Time NextCreateTime(absl::Time now) const;
  void Add(const v1::Silence& silence, absl::Time now);
  void Remove(const v1::Silence& silence);
  // Null: there is none, or it has ended.
  const v1::Silence* Find(absl::string_view silence_id, absl::Time now) const;
  // The ids of those that match `alert` at `now`, oldest first.
  std::vector<std::string> Matching(const v1::Alert& alert, absl::Time now) const;
  // Makes the published silences what the working ones are.
  void Publish() ABSL_LOCKS_EXCLUDED(mutex_);

  // Thread-safe. Those that hold at `now`, newest first, by pages. INVALID_ARGUMENT: page size or token.
  absl::StatusOr<v1::ListSilencesResponse> List(const v1::ListSilencesRequest& request, absl::Time now) const
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Silences = std::map<int64_t, v1::Silence>;  // by creation, in microseconds

  Silences working_;  // the ledger's thread's

  mutable absl::Mutex mutex_;
  Silences published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_SILENCE_TABLE_H_
