// What a server makes of its data folder: the table of jobs after a restart, and statistics that are gone.
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
  // The same of a range of steps that is gone.
  void TellLost(absl::string_view uid, const EncodedReport& lost);
  // Reports up to `last_step` are stored, and after a restart not all of them are known yet: reads what came since the
  // figures were saved, and lets the channel begin behind them. `last_step`.
  absl::StatusOr<int64_t> CatchUp(JobEntry& entry, int32_t attempt, int64_t last_step);

  // Removes all files of a job that was deleted; until that is done the ledger keeps that it is to be done.
  void RemoveFiles(const std::string& uid, int32_t attempts);

 private:
  // A job of which a trainer may come back, or of which less is stored than was reported.
  struct Restored {
    std::shared_ptr<JobEntry> entry;
    int64_t last_step = -1;  // stored
    bool is_active = false;
  };
  absl::Status Restore(JobRow row, std::vector<Restored>* restored);
  // Whether a job that has ended, of which there was a report at `end_step`, has lost something that was stored.
  bool FallsShort(int64_t last_step, int64_t end_step) const;
  void WarnOfStatisticsOfNobody() const;
  void RestoreStatistics(const Restored& restored);
  // Tells, and stores, that the steps from `first` on that the job has done are gone.
  void TellGap(const std::shared_ptr<JobEntry>& entry, int64_t first);

  JobContext* const context_;
  Supervisor* const supervisor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_RECOVERY_H_
