// The reports of one job on their way in: from the trainer that holds the job, each step once, in order; and the
// figures that they give of a job that runs.
#ifndef GRADWATCH_SERVER_JOB_REPORT_INTAKE_H_
#define GRADWATCH_SERVER_JOB_REPORT_INTAKE_H_

#include <deque>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

class TrainerLink;

// Figures of a running job that are not worth an event; as the fields of v1::Job that have their names.
struct LiveFigures {
  int32_t attempt = 0;
  int64_t steps_done = 0;
  int64_t control_revision = 0;  // of the last report; 0: none
  std::optional<double> last_loss;
  std::optional<double> last_grad_norm;
  std::optional<int64_t> last_non_finite;
  int64_t non_finite_steps = 0;
  std::optional<v1::Validation> last_validation;
  int64_t last_validation_step = 0;

  // The next report counts; those of an attempt come in the order of steps.
  void Add(const v1::StepReport& report);
  // What was counted of the reports that come after these.
  void Add(const LiveFigures& later);
};
// The figures as they were when `job` was stored.
LiveFigures FiguresOf(const v1::Job& job);
// Puts figures of the job's present attempt into `job`.
void MergeFigures(const LiveFigures& figures, v1::Job* job);

// What a job lets reports say.
struct ReportLimits {
  int tensors = 0;    // how many the job has
  int64_t steps = 0;  // their numbers are below
};

// What a batch adds to what was accepted before it.
struct AcceptedBatch {
  std::vector<EncodedReport> entries;  // reports and lost ranges, in the order of steps; empty: all of it is known
  LiveFigures figures;                 // of the new reports alone
  int64_t last_step = -1;              // of all that the batch holds; -1: it is empty
  bool some_are_gone = false;          // the first entry is about steps that were acknowledged and are stored no more
};

// Thread-safe.
class ReportIntake {
 public:
  // From now on only `link` may report, in `epoch`, and only steps after `last_step` of `attempt`. `came_back`: its
  // trainer held the job before, so what it does not have any more was acknowledged.
  void Open(const TrainerLink* link, int64_t epoch, int32_t attempt, int64_t last_step, absl::Duration now,
            bool came_back) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nobody may report. Returns after a running Accept.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

  // A write of statistics of this job is under way from now on, and until EndStore, which is called once for each
  // BeginStore, whether it succeeded or not. They end in the order in which they began.
  void BeginStore() ABSL_LOCKS_EXCLUDED(store_mutex_);
  void EndStore() ABSL_LOCKS_EXCLUDED(store_mutex_);
  // Whether one is under way: some reports that have come count nowhere yet.
  bool storing() const ABSL_LOCKS_EXCLUDED(store_mutex_);
  // Runs `task` when what is under way now has ended, never under a lock: on the thread that ends it, or at once.
  // Tasks run one after the other, in the order of calls. Other jobs are not waited for. Whoever calls this, or
  // EndStore, holds the job's entry meanwhile.
  void AfterStored(absl::AnyInvocable<void()> task) ABSL_LOCKS_EXCLUDED(store_mutex_);

  // ABORTED (reason TRAINER_FENCED): `link` does not hold the job, or holds it in another epoch.
  absl::Status CheckHolds(const TrainerLink* link, int64_t epoch) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Encodes what is new of a batch and hands it to `store`, which must only queue it, and runs nothing that waits:
  // batches are stored in the order in which they are accepted. Errors as CheckHolds; INVALID_ARGUMENT: the batch is
  // not as ReportBatch says.
  absl::Status Accept(const TrainerLink* link, v1::ReportBatch batch, const ReportLimits& limits,
                      absl::FunctionRef<void(AcceptedBatch)> store) ABSL_LOCKS_EXCLUDED(mutex_);

  // What was accepted is stored: its figures are what users see.
  void Stored(const LiveFigures& figures, absl::Duration now) ABSL_LOCKS_EXCLUDED(figures_mutex_);
  // Statistics could not be stored or read: nobody may report, and for a while nobody may attach. The while doubles
  // with each failure in a row, from one second to thirty.
  void StoreFailed(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);
  // When a trainer may attach again.
  absl::Duration closed_until() const ABSL_LOCKS_EXCLUDED(figures_mutex_);

  // What is stored of the job, as somebody has read it. False: more is known by now, and nothing has changed.
  bool Restore(const LiveFigures& figures) ABSL_LOCKS_EXCLUDED(figures_mutex_);
  LiveFigures figures() const ABSL_LOCKS_EXCLUDED(figures_mutex_);
  // Steps a second that came in over the last ten seconds, or since the trainer attached. Unset: no trainer is
  // attached, or it is too early to say.
  std::optional<double> StepsPerSecond(absl::Duration now) const ABSL_LOCKS_EXCLUDED(figures_mutex_);

 private:
  // How far the job had come when something arrived.
  struct Arrival {
    absl::Duration time;
    int64_t steps_done = 0;
  };

  // A task, and how many writes must have ended before it.
  struct Waiter {
    int64_t after = 0;
    absl::AnyInvocable<void()> task;
  };

  absl::Status HoldsLocked(const TrainerLink* link, int64_t epoch) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteArrival(absl::Duration now, int64_t steps_done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(figures_mutex_);
  // Runs the tasks that wait for nothing any more, unless another thread does.
  void RunReady() ABSL_LOCKS_EXCLUDED(store_mutex_);
  // The next of them; null: there is none, and nobody runs tasks from now on.
  absl::AnyInvocable<void()> TakeReady() ABSL_LOCKS_EXCLUDED(store_mutex_);

  // Held while a batch is checked and encoded, which takes its time: the ledger's thread takes it only where a trainer
  // comes or goes.
  mutable absl::Mutex mutex_ ABSL_ACQUIRED_BEFORE(figures_mutex_, store_mutex_);
  const TrainerLink* link_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t attempt_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_step_ ABSL_GUARDED_BY(mutex_) = -1;  // accepted
  bool came_back_ ABSL_GUARDED_BY(mutex_) = false;  // the trainer did, and has sent nothing yet

  mutable absl::Mutex figures_mutex_;
  LiveFigures figures_ ABSL_GUARDED_BY(figures_mutex_);
  bool attached_ ABSL_GUARDED_BY(figures_mutex_) = false;  // as link_ says
  // Of this link; the first is its attachment or ten seconds old.
  std::deque<Arrival> arrivals_ ABSL_GUARDED_BY(figures_mutex_);
  int failures_ ABSL_GUARDED_BY(figures_mutex_) = 0;  // of the store, in a row
  absl::Duration closed_until_ ABSL_GUARDED_BY(figures_mutex_) = -absl::InfiniteDuration();

  mutable absl::Mutex store_mutex_;
  int64_t begun_ ABSL_GUARDED_BY(store_mutex_) = 0;  // writes
  int64_t ended_ ABSL_GUARDED_BY(store_mutex_) = 0;
  std::deque<Waiter> waiters_ ABSL_GUARDED_BY(store_mutex_);
  bool running_ ABSL_GUARDED_BY(store_mutex_) = false;  // tasks, on some thread
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_REPORT_INTAKE_H_
