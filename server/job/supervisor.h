// Starts trainers, notices how they end, and decides what becomes of a job whose trainer is gone.
#ifndef GRADWATCH_SERVER_JOB_SUPERVISOR_H_
#define GRADWATCH_SERVER_JOB_SUPERVISOR_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/job/job_context.h"
#include "server/job/job_edit.h"

namespace gradwatch::server {

// Thread-safe, but for what is said to run on the ledger's thread.
class Supervisor {
 public:
  explicit Supervisor(JobContext* context) : context_(context) {}

  // Reads the jobs of the ledger into the table and looks for their trainers. Before anything else.
  absl::Status Recover();
  // Starts the oldest job that waits, if one more may run, and then the next.
  void StartNext();
  // Looks for trainers that are waited for in vain, and for jobs that could not be started when it was their turn.
  void Tick();

  // The ledger's thread: the stream of the trainer that held the job is over.
  absl::Status OnStreamEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                           const std::string& reason);
  // The ledger's thread: writes and publishes an edit that ends a job, and lets the next one start.
  absl::Status Conclude(JobEdit& edit);

 private:
  absl::Status Restore(JobRow row);
  absl::Status RestoreFigures(JobEntry& entry, int64_t last_step);
  void AdoptTrainer(const std::shared_ptr<JobEntry>& entry);
  absl::Status BeginRecovery(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);

  std::shared_ptr<JobEntry> NextToStart() const;
  absl::Status BeginAttempt(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  void Launch(const std::shared_ptr<JobEntry>& entry, const LaunchRequest& request);
  absl::Status OnLaunched(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction, int32_t attempt,
                          const absl::StatusOr<int32_t>& pid);
  // What a launcher calls when the process has ended; does nothing once the manager is gone.
  absl::AnyInvocable<void(const ProcessEnd&)> EndCallback(const std::shared_ptr<JobEntry>& entry, int32_t attempt);
  absl::Status OnProcessEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction, int32_t attempt,
                            const ProcessEnd& end);

  absl::Status OnDeadline(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // The process is gone, and its stream too.
  absl::Status ConcludeLost(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // The trainer did not come in time.
  absl::Status ConcludeAbsent(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  absl::Duration Now() const { return context_->deps.clock->Monotonic(); }

  JobContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_SUPERVISOR_H_
