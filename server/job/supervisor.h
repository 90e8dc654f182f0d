// Starts trainers, notices how they end, and decides what becomes of a job whose trainer is gone.
#ifndef GRADWATCH_SERVER_JOB_SUPERVISOR_H_
#define GRADWATCH_SERVER_JOB_SUPERVISOR_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/job/job.h"
#include "server/job/job_context.h"
#include "server/job/last_words.h"

namespace gradwatch::server {

// What a launcher needs to know of a job.
LaunchRequest LaunchRequestOf(const JobRow& row);

// Thread-safe, but for what is said to run on the ledger's thread.
class Supervisor {
 public:
  explicit Supervisor(JobContext* context) : context_(context), last_words_(context, this) {}

  // Reads the jobs of the ledger into the table and looks for their trainers. Before anything else.
  absl::Status Recover();
  // Starts the oldest job that waits, if one more may run, and then the next.
  void StartNext();
  // Looks for trainers that are waited for in vain, and for jobs that could not be started when it was their turn.
  void Tick();

  // Writes the figures of all jobs, so that the next start knows how far they were.
  void SaveAllFigures();

  // What was stored of the job `uid` is damaged or gone: makes it an event, once for each description, also over
  // restarts.
  void TellDataLoss(absl::string_view uid, std::string description);
  // The same of a range of steps, which are "gone" or "damaged".
  void TellLost(absl::string_view uid, const EncodedReport& lost, absl::string_view what);
  // The statistics of a job cannot be read, says `damage`: sets them aside, tells it, and begins anew behind a lost
  // range that covers what was reported. `done` gets the last step that is stored then, or why nothing can be stored;
  // it never runs if the server goes down.
  void MendStatistics(const std::shared_ptr<JobEntry>& entry, const absl::Status& damage,
                      absl::AnyInvocable<void(absl::StatusOr<int64_t>)> done);

  // Reports up to `last_step` are stored, and after a restart not all of them are known yet: reads what came since the
  // figures were saved, and lets the channel begin behind them. `last_step`.
  absl::StatusOr<int64_t> CatchUp(JobEntry& entry, int32_t attempt, int64_t last_step);

  // Removes all files of a job that was deleted; until that is done the ledger keeps that it is to be done.
  void RemoveFiles(const std::string& uid, int32_t attempts);

  // The ledger's thread: the stream of the trainer that held the job is over.
  absl::Status OnStreamEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                           const std::string& reason);
  // The ledger's thread: writes and publishes an edit that ends a job, and lets the next one start.
  absl::Status Conclude(JobEdit& edit);

 private:
  // A job that has not ended, and the last step that is stored of it.
  struct Restored {
    std::shared_ptr<JobEntry> entry;
    absl::StatusOr<int64_t> last_step;
  };
  absl::Status Restore(JobRow row, std::vector<Restored>* active);
  void WarnOfStatisticsOfNobody() const;
  // Of an active job: a bad store is its trouble alone.
  void RestoreStatistics(const std::shared_ptr<JobEntry>& entry, absl::StatusOr<int64_t> last_step);
  // The ledger's thread: tells, and stores, that the steps from `first` on that the job has done are "gone", "damaged".
  void TellGap(const std::shared_ptr<JobEntry>& entry, int64_t first, absl::string_view what,
               StatisticsStore::AppendDone done);
  void AdoptTrainer(const std::shared_ptr<JobEntry>& entry, const JobRow& row);
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
  // Writes the live figures of a running job to its row now and then, so that little is read again after a restart.
  absl::Status SaveFigures(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // The process is gone, and its stream too: hears what it left before anything is concluded.
  absl::Status HearLost(const std::shared_ptr<JobEntry>& entry);
  absl::Status ConcludeLost(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // The trainer did not come in time.
  absl::Status ConcludeAbsent(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  absl::Duration Now() const { return context_->deps.clock->Monotonic(); }

  JobContext* const context_;
  LastWords last_words_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_SUPERVISOR_H_
