// What users ask of jobs: to be made, paused, resumed, stopped, renamed and deleted.
#ifndef GRADWATCH_SERVER_JOB_OPERATIONS_H_
#define GRADWATCH_SERVER_JOB_OPERATIONS_H_

#include <memory>
#include <string>

#include "core/spec/job_spec.h"
#include "server/job/job.h"
#include "server/job/job_context.h"
#include "server/job/job_state.h"
#include "server/job/recovery.h"
#include "server/job/supervisor.h"

namespace gradwatch::server {

// Thread-safe. Every method is the call of JobService that has its name.
class JobOperations {
 public:
  template <typename T>
  using Done = JobManager::Done<T>;

  JobOperations(JobContext* context, Supervisor* supervisor, Recovery* recovery)
      : context_(context), supervisor_(supervisor), recovery_(recovery) {}

  void Create(v1::CreateJobRequest request, std::string actor, Done<v1::Job> done);
  // Pause or resume. `key`: of the request.
  struct CommandRequest {
    JobCommand command;
    std::string job_id;
    absl::Duration grace = absl::InfiniteDuration();  // of a stop
  };
  void Command(CommandRequest request, RequestKey key, std::string actor, Done<v1::Job> done);
  void Stop(v1::StopJobRequest request, std::string actor, Done<v1::Job> done);
  void Update(v1::UpdateJobRequest request, std::string actor, Done<v1::Job> done);
  void Delete(v1::DeleteJobRequest request, std::string actor, Done<v1::DeleteJobResponse> done);

 private:
  // A submission goes from one to the next.
  void CheckAndAccept(v1::CreateJobRequest request, RequestKey key, std::string actor, Done<v1::Job> done);
  void AcceptChecked(v1::CreateJobRequest request, RequestKey key, std::string actor, core::ValidatedJob checked,
                     Done<v1::Job> done);

  // All of these on the ledger's thread.
  absl::StatusOr<v1::Job> Accept(const v1::CreateJobRequest& request, const std::string& actor,
                                 const core::ValidatedJob& checked, const RequestKey& key,
                                 LedgerTransaction& transaction);
  // Whether one more job may be accepted, an external one or a hosted one.
  absl::Status CheckRoom(bool external) const;
  absl::StatusOr<v1::Job> DoCommand(const CommandRequest& request, const RequestKey& key, const std::string& actor,
                                    LedgerTransaction& transaction);
  // Sets when the stop that `grace` allows is over, unless that is sooner already. Whether it did.
  bool SetStopDeadline(absl::Duration grace, v1::Job* job) const;
  absl::StatusOr<v1::Job> DoUpdate(const v1::UpdateJobRequest& request, const std::string& actor, const RequestKey& key,
                                   LedgerTransaction& transaction);
  absl::StatusOr<v1::DeleteJobResponse> DoDelete(const v1::DeleteJobRequest& request, const std::string& actor,
                                                 const RequestKey& key, LedgerTransaction& transaction);
  // The job is deleted: its trainer and all that was kept of it go.
  void CleanUp(const std::shared_ptr<JobEntry>& entry, const JobRecord& record);

  JobContext* const context_;
  Supervisor* const supervisor_;
  Recovery* const recovery_;
};

// Whether `text` can be a job's id: ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$.
bool IsJobId(absl::string_view text);
// An id made from what people call the job ("Big run 3" becomes "big-run-3-x7qa"), "job-x7qa" without a name.
std::string MakeJobId(absl::string_view display_name);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_OPERATIONS_H_
