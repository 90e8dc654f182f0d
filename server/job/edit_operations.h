// What users ask of the controls of a job: edits, and that one is not to be applied after all.
#ifndef GRADWATCH_SERVER_JOB_EDIT_OPERATIONS_H_
#define GRADWATCH_SERVER_JOB_EDIT_OPERATIONS_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "server/job/job.h"
#include "server/job/job_context.h"

namespace gradwatch::server {

// Thread-safe. Every method is the call of JobService or AlertService that has its name. ApplyRules is an AdjustJob of
// the path "rules" in other words.
class EditOperations {
 public:
  template <typename T>
  using Done = JobManager::Done<T>;

  explicit EditOperations(JobContext* context) : context_(context) {}

  void AdjustJob(v1::AdjustJobRequest request, std::string actor, Done<v1::AdjustJobResponse> done);
  void ApplyRules(v1::ApplyRulesRequest request, std::string actor, Done<v1::ApplyRulesResponse> done);
  void CancelEdit(v1::CancelEditRequest request, std::string actor, Done<v1::CancelEditResponse> done);

 private:
  // All of these on the ledger's thread.
  // Accepts an edit; `remember` keeps the answer to it, and may fail. Paths of violations are below `field`.
  absl::StatusOr<v1::AdjustJobResponse> DoAdjust(
      const v1::AdjustJobRequest& request, absl::string_view field, const std::string& actor,
      LedgerTransaction& transaction, absl::FunctionRef<absl::Status(const v1::AdjustJobResponse&)> remember);
  absl::StatusOr<v1::ApplyRulesResponse> DoApplyRules(const v1::ApplyRulesRequest& request, const std::string& actor,
                                                      const RequestKey& key, LedgerTransaction& transaction);
  // The edit as it is going to wait, if it may.
  absl::StatusOr<v1::Adjustment> MakeAdjustment(const v1::AdjustJobRequest& request, absl::string_view field,
                                                const std::string& actor, const JobRecord& record) const;
  // What the controls are going to be, as far as that is known.
  absl::StatusOr<v1::Controls> ChangedControls(const v1::AdjustJobRequest& request, const JobRecord& record) const;
  absl::StatusOr<v1::CancelEditResponse> DoCancelEdit(const v1::CancelEditRequest& request, const std::string& actor,
                                                      const RequestKey& key, LedgerTransaction& transaction);

  JobContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_EDIT_OPERATIONS_H_
