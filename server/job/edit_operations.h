// What users ask of the controls of a job: edits, and that one is not to be applied after all.
#ifndef GRADWATCH_SERVER_JOB_EDIT_OPERATIONS_H_
#define GRADWATCH_SERVER_JOB_EDIT_OPERATIONS_H_

#include <string>

#include "server/job/job.h"
#include "server/job/job_context.h"

namespace gradwatch::server {

// Thread-safe. Every method is the call of JobService that has its name.
class EditOperations {
 public:
  template <typename T>
  using Done = JobManager::Done<T>;

  explicit EditOperations(JobContext* context) : context_(context) {}

  void AdjustJob(v1::AdjustJobRequest request, std::string actor, Done<v1::AdjustJobResponse> done);
  void CancelEdit(v1::CancelEditRequest request, std::string actor, Done<v1::CancelEditResponse> done);

 private:
  // All of these on the ledger's thread.
  absl::StatusOr<v1::AdjustJobResponse> DoAdjust(const v1::AdjustJobRequest& request, const std::string& actor,
                                                 const RequestKey& key, LedgerTransaction& transaction);
  absl::StatusOr<v1::Adjustment> MakeAdjustment(const v1::AdjustJobRequest& request, const std::string& actor,
                                                const JobRecord& record) const;
  absl::StatusOr<v1::CancelEditResponse> DoCancelEdit(const v1::CancelEditRequest& request, const std::string& actor,
                                                      const RequestKey& key, LedgerTransaction& transaction);

  JobContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_EDIT_OPERATIONS_H_
