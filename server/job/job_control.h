// What users change about a job that is there: its controls, whether it runs, and whether it is kept.
#ifndef GRADWATCH_SERVER_JOB_JOB_CONTROL_H_
#define GRADWATCH_SERVER_JOB_JOB_CONTROL_H_

#include <memory>
#include <string>

#include "server/job/job_context.h"
#include "server/job/job_edit.h"
#include "server/job/job_state.h"
#include "server/job/request_memory.h"
#include "server/job/supervisor.h"

namespace gradwatch::server {

// Thread-safe.
class JobControl {
 public:
  JobControl(JobContext* context, Supervisor* supervisor) : context_(context), supervisor_(supervisor) {}

  void Adjust(v1::AdjustJobRequest request, std::string actor, JobManager::Done<v1::AdjustJobResponse> done);
  // Pause, resume or stop. `key`: of the request.
  void Command(JobCommand command, std::string job_id, RequestKey key, std::string actor,
               JobManager::Done<v1::Job> done);
  void Delete(v1::DeleteJobRequest request, std::string actor, JobManager::Done<v1::DeleteJobResponse> done);

 private:
  // All on the ledger's thread.
  absl::StatusOr<v1::AdjustJobResponse> DoAdjust(const v1::AdjustJobRequest& request, const std::string& actor,
                                                 const RequestKey& key, LedgerTransaction& transaction);
  absl::StatusOr<v1::Adjustment> MakeAdjustment(const v1::AdjustJobRequest& request, const std::string& actor,
                                                const v1::Job& job) const;
  absl::StatusOr<v1::Job> DoCommand(JobCommand command, const std::string& job_id, const RequestKey& key,
                                    const std::string& actor, LedgerTransaction& transaction);
  absl::StatusOr<v1::DeleteJobResponse> DoDelete(const v1::DeleteJobRequest& request, const std::string& actor,
                                                 LedgerTransaction& transaction);
  // The job is deleted: its trainer and all that was kept of it go.
  void CleanUp(const std::shared_ptr<JobEntry>& entry, const JobRecord& record);

  JobContext* const context_;
  Supervisor* const supervisor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_CONTROL_H_
