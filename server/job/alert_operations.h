// What users ask of alerts: to be acknowledged, and to be silenced.
#ifndef GRADWATCH_SERVER_JOB_ALERT_OPERATIONS_H_
#define GRADWATCH_SERVER_JOB_ALERT_OPERATIONS_H_

#include <string>

#include "server/job/job_context.h"

namespace gradwatch::server {

// Thread-safe. Every method is the call of AlertService that has its name.
class AlertOperations {
 public:
  explicit AlertOperations(JobContext* context) : context_(context) {}

  void Acknowledge(v1::AcknowledgeAlertRequest request, std::string actor, JobManager::Done<v1::Alert> done);
  void CreateSilence(v1::CreateSilenceRequest request, std::string actor, JobManager::Done<v1::Silence> done);
  void DeleteSilence(v1::DeleteSilenceRequest request, std::string actor,
                     JobManager::Done<v1::DeleteSilenceResponse> done);

 private:
  // All on the ledger's thread.
  absl::StatusOr<v1::Alert> DoAcknowledge(const v1::AcknowledgeAlertRequest& request, const std::string& actor,
                                          const RequestKey& key, LedgerTransaction& transaction);
  absl::StatusOr<v1::Silence> DoCreateSilence(const v1::CreateSilenceRequest& request, const std::string& actor,
                                              const RequestKey& key, LedgerTransaction& transaction);
  absl::StatusOr<v1::DeleteSilenceResponse> DoDeleteSilence(const v1::DeleteSilenceRequest& request,
                                                            const std::string& actor, LedgerTransaction& transaction);

  JobContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_ALERT_OPERATIONS_H_
