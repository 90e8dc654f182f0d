// The one thing that the server judges itself about a job that runs: that no step comes, though its trainer is there.
#ifndef GRADWATCH_SERVER_JOB_STALLS_H_
#define GRADWATCH_SERVER_JOB_STALLS_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/job/job.h"
#include "server/job/job_context.h"

namespace gradwatch::server {

// Used on the ledger's thread.
class Stalls {
 public:
  explicit Stalls(JobContext* context) : context_(context) {}

  // About once a second for each job that has not ended. `heard`: of its trainer since the last time; `now`: the time
  // of leases.
  void Look(const std::shared_ptr<JobEntry>& entry, TrainerLink::Heard heard, absl::Duration now);

 private:
  absl::Status Tell(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  absl::Status End(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);

  JobContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_STALLS_H_
