// Takes in new jobs: checks them, names them, and makes them durable.
#ifndef GRADWATCH_SERVER_JOB_JOB_CREATION_H_
#define GRADWATCH_SERVER_JOB_JOB_CREATION_H_

#include <string>

#include "core/spec/job_spec.h"
#include "server/job/job_context.h"
#include "server/job/request_memory.h"
#include "server/job/supervisor.h"

namespace gradwatch::server {

// Thread-safe.
class JobCreation {
 public:
  JobCreation(JobContext* context, Supervisor* supervisor) : context_(context), supervisor_(supervisor) {}

  void Create(v1::CreateJobRequest request, std::string actor, JobManager::Done<v1::Job> done);

 private:
  void CreateValidated(v1::CreateJobRequest request, std::string actor, core::ValidatedJob validated,
                       JobManager::Done<v1::Job> done);
  // The ledger's thread.
  absl::StatusOr<v1::Job> Accept(const v1::CreateJobRequest& request, const std::string& actor,
                                 const core::ValidatedJob& validated, const RequestKey& key,
                                 LedgerTransaction& transaction);
  absl::Status CheckRoom() const;

  JobContext* const context_;
  Supervisor* const supervisor_;
};

// Whether `text` can be a job's id: ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$.
bool IsJobId(absl::string_view text);

// An id made from what people call the job ("Big run 3" becomes "big-run-3-x7qa"), "job-x7qa" without a name.
std::string MakeJobId(absl::string_view display_name);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_CREATION_H_
