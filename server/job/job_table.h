// All jobs, by id and by age: once as the ledger's thread works on them, once as they were committed.
#ifndef GRADWATCH_SERVER_JOB_JOB_TABLE_H_
#define GRADWATCH_SERVER_JOB_JOB_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/job/job_entry.h"

namespace gradwatch::server {

// The order of jobs is their time of creation in microseconds, made unique: it is the same after a restart, so that
// pages of a list go on where they were.
class JobTable {
 public:
  // For the ledger's thread.

  // Null: no such job.
  std::shared_ptr<JobEntry> FindWorking(absl::string_view job_id) const;
  void AddWorking(std::shared_ptr<JobEntry> entry);
  void RemoveWorking(const JobEntry& entry);
  // Jobs that have not ended, oldest first.
  std::vector<std::shared_ptr<JobEntry>> Active() const;
  // An order for a job created now.
  int64_t NextOrder(int64_t now_micros);
  // Makes the working side of a job what the published side is, after a commit that failed.
  void RollBack(const std::shared_ptr<JobEntry>& entry) ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes the published side of a job what `record` says (null: the job is gone).
  void Publish(const std::shared_ptr<JobEntry>& entry, std::shared_ptr<const JobRecord> record)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Thread-safe.

  // Null: no such job.
  std::shared_ptr<JobEntry> Find(absl::string_view job_id) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Jobs older than `before`, newest first.
  std::vector<std::shared_ptr<JobEntry>> NewestBefore(int64_t before) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Ledger's thread.
  absl::flat_hash_map<std::string, std::shared_ptr<JobEntry>> working_;
  std::map<int64_t, std::shared_ptr<JobEntry>> active_;
  int64_t last_order_ = 0;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<JobEntry>> published_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, std::shared_ptr<JobEntry>> by_order_ ABSL_GUARDED_BY(mutex_);
};

// Leaves of `job` what `view` tells; `standard`: where it is unset.
void TrimToView(v1::JobView view, v1::JobView standard, v1::Job* job);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_TABLE_H_
