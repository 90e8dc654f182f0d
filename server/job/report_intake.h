// The reports of one job on their way in: from the trainer that holds the job, each step once, in order.
#ifndef GRADWATCH_SERVER_JOB_REPORT_INTAKE_H_
#define GRADWATCH_SERVER_JOB_REPORT_INTAKE_H_

#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/job/trainer_link.h"
#include "server/store/statistics_store.h"

namespace gradwatch::server {

// Figures of a running job that are not worth an event.
struct LiveFigures {
  int32_t attempt = 0;
  int64_t steps_done = 0;
  int64_t control_revision = 0;
  std::optional<double> last_loss;
  std::optional<double> last_grad_norm;
};

// Thread-safe.
class ReportIntake {
 public:
  // From now on only `link` may report, and only steps after `last_step` of `attempt`.
  void Open(const TrainerLink* link, int32_t attempt, int64_t last_step) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nobody may report. Returns after a running Accept.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

  // Encodes the reports of a batch that are new and hands them to `store`, which must only queue them: batches are
  // stored in the order in which they are accepted. `tensors`: how many the job has. ABORTED (reason TRAINER_FENCED):
  // `link` may not report; INVALID_ARGUMENT: the batch is not as ReportBatch says.
  absl::Status Accept(const TrainerLink* link, v1::ReportBatch batch, int tensors,
                      absl::FunctionRef<void(std::vector<EncodedReport>)> store) ABSL_LOCKS_EXCLUDED(mutex_);

  // What is durable of a batch counts for the figures that users see.
  void Publish(const LiveFigures& figures) ABSL_LOCKS_EXCLUDED(mutex_);
  LiveFigures figures() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  const TrainerLink* link_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int32_t attempt_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_step_ ABSL_GUARDED_BY(mutex_) = -1;
  LiveFigures figures_ ABSL_GUARDED_BY(mutex_);
};

// The figures that a report gives.
LiveFigures FiguresOf(const v1::StepReport& report);
// Puts figures of the job's present attempt into `job`.
void MergeFigures(const LiveFigures& figures, v1::Job* job);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_REPORT_INTAKE_H_
