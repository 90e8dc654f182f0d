// All jobs and silences in memory: as they are worked on, and as they were committed; and their lists.
#ifndef GRADWATCH_SERVER_JOB_JOB_TABLE_H_
#define GRADWATCH_SERVER_JOB_JOB_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/job_service.pb.h"
#include "server/job/job.h"

namespace gradwatch::server {

// The order of jobs is their time of creation in microseconds, made unique: it is the same after a restart, so that
// pages of a list go on where they were.
class JobTable {
 public:
  using Entry = std::shared_ptr<JobEntry>;

  // For the ledger's thread.

  // Null: no such job.
  Entry FindWorking(absl::string_view job_id) const;
  void AddWorking(Entry entry);
  void RemoveWorking(const JobEntry& entry);
  // Jobs that have not ended, oldest first.
  std::vector<Entry> Active() const;
  // An order for a job created now.
  int64_t NextOrder(int64_t now_micros);
  // Makes the working side of a job what the published side is, after a commit that failed.
  void RollBack(const Entry& entry) ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes the published side of a job what `record` says (null: the job is gone).
  void Publish(const Entry& entry, std::shared_ptr<const JobRecord> record) ABSL_LOCKS_EXCLUDED(mutex_);

  // Thread-safe.

  // Null: no such job.
  Entry Find(absl::string_view job_id) const ABSL_LOCKS_EXCLUDED(mutex_);
  Entry FindUid(absl::string_view uid) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Jobs older than `before`, newest first.
  std::vector<Entry> NewestBefore(int64_t before) const ABSL_LOCKS_EXCLUDED(mutex_);
  // How those that have not ended are doing, oldest first.
  std::vector<v1::JobFigures> Figures(absl::Duration now) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Ledger's thread.
  absl::flat_hash_map<std::string, Entry> working_;
  std::map<int64_t, Entry> active_;
  int64_t last_order_ = 0;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> published_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Entry> by_uid_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Entry> by_order_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Entry> published_active_ ABSL_GUARDED_BY(mutex_);
};

// A page of the list. Errors as JobService.ListJobs says. Thread-safe.
absl::StatusOr<v1::ListJobsResponse> ListJobs(const JobTable& table, const v1::ListJobsRequest& request);

// Takes out of `job` what `view` does not tell; unset: as `standard`.
void TrimToView(v1::JobView view, v1::JobView standard, v1::Job* job);

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
  // Makes the published silences what the working ones are.
  void Publish() ABSL_LOCKS_EXCLUDED(mutex_);

  // Thread-safe. Those that hold at `now`, newest first, by pages. INVALID_ARGUMENT: page size or token.
  absl::StatusOr<v1::ListSilencesResponse> List(const v1::ListSilencesRequest& request, absl::Time now) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Thread-safe. The ids of those that match `alert` at `now`, oldest first.
  std::vector<std::string> Matching(const v1::Alert& alert, absl::Time now) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Silences = std::map<int64_t, v1::Silence>;  // by creation, in microseconds

  Silences working_;  // the ledger's thread's

  mutable absl::Mutex mutex_;
  Silences published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_TABLE_H_
