// What a run tells, put where the attach thread finds it.
#ifndef GRADWATCH_CLIENT_WORKER_REPORTING_OBSERVER_H_
#define GRADWATCH_CLIENT_WORKER_REPORTING_OBSERVER_H_

#include "absl/functional/function_ref.h"
#include "client/worker/report_buffer.h"
#include "core/train/observer.h"
#include "gradwatch/v1/trainer_service.pb.h"

namespace gradwatch::worker {

// Used on the training thread. Both arguments must outlive it.
class ReportingObserver final : public core::Observer {
 public:
  // `notify` takes a notice without its number.
  ReportingObserver(ReportBuffer* reports, absl::FunctionRef<void(v1::Notice)> notify)
      : reports_(reports), notify_(notify) {}

  void OnStep(const core::StepRecord& record) override { reports_->Offer(record); }
  void OnAlert(const v1::Alert& alert) override;
  void OnEdit(const core::EditOutcome& outcome) override;
  void OnPaused(int64_t steps_done) override;
  void OnResumed(int64_t steps_done) override;

 private:
  ReportBuffer* const reports_;
  const absl::FunctionRef<void(v1::Notice)> notify_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_REPORTING_OBSERVER_H_
