// What a server makes of its data folder: the table of jobs after a restart, and statistics that are damaged or gone.
#ifndef GRADWATCH_SERVER_JOB_RECOVERY_H_
#define GRADWATCH_SERVER_JOB_RECOVERY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/job/job.h"
#include "server/job/job_context.h"
#include "server/job/supervisor.h"

namespace gradwatch::server {

// Thread-safe, but for what is said to run on the ledger's thread.
class Recovery {
 public:
  Recovery(JobContext* context, Supervisor* supervisor) : context_(context), supervisor_(supervisor) {}

  // Reads the jobs of the ledger into the table and looks for their trainers. Before anything else.
  absl::Status Recover();

  // What was stored of the job `uid` is damaged or gone: makes it an event, once for each description, also over
  // restarts.
  void TellDataLoss(absl::string_view uid, std::string description);
  // The same of a range of steps, which are "gone" or "damaged".
  void TellLost(absl::string_view uid, const EncodedReport& lost, absl::string_view what);
  // The statistics of a job cannot be read, says `damage`: sets them aside, tells it, and begins anew behind a lost
  // range that covers what was reported. `done` gets the last step that is stored then, or why nothing can be stored.
  void MendStatistics(const std::shared_ptr<JobEntry>& entry, const absl::Status& damage,
                      absl::AnyInvocable<void(absl::StatusOr<int64_t>)> done);

  // Reports up to `last_step` are stored, and after a restart not all of them are known yet: reads what came since the
  // figures were saved, and lets the channel begin behind them. `last_step`.
  absl::StatusOr<int64_t> CatchUp(JobEntry& entry, int32_t attempt, int64_t last_step);

  // Removes all files of a job that was deleted; until that is done the ledger keeps that it is to be done.
  void RemoveFiles(const std::string& uid, int32_t attempts);

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

  JobContext* const context_;
  Supervisor* const supervisor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_RECOVERY_H_
