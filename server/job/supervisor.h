// Starts trainers and drives their leases: who may attach, what becomes of a job whose trainer is not heard, is gone,
// or is to end, and whether one that is heard makes steps.
#ifndef GRADWATCH_SERVER_JOB_SUPERVISOR_H_
#define GRADWATCH_SERVER_JOB_SUPERVISOR_H_

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/job/job.h"
#include "server/job/job_context.h"
#include "server/job/stalls.h"
#include "server/job/trainer_lease.h"

namespace gradwatch::server {

class LastWords;

// What a launcher needs to know of a job.
LaunchRequest LaunchRequestOf(const JobRow& row);
// Whether its trainer attaches by itself.
bool IsExternal(const JobRow& row);

// Thread-safe, but for what is said to run on the ledger's thread.
class Supervisor {
 public:
  explicit Supervisor(JobContext* context) : context_(context), last_tick_(Now()) {}
  // Who reads what trainers leave; without, they leave nothing. Before anything else.
  void SetLastWords(LastWords* last_words) { last_words_ = last_words; }

  // Starts the oldest job that waits, if one more may run, and then the next.
  void StartNext();
  // Looks after all leases, and for jobs that could not be started when it was their turn.
  void Tick();
  // Writes the figures of all jobs, so that the next start knows how far they were.
  void SaveAllFigures();

  // All that follows: the ledger's thread.

  // The server has started under a job that had begun: its trainer is looked for, or gets a new attempt. Once; what
  // cannot be stored of it is tried again on each tick.
  absl::Status BeginRecovery(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // Something happened to the lease of a job: moves it on and does what is then to be done, but for what a knock is
  // answered with, which is returned.
  LeaseStep Advance(const std::shared_ptr<JobEntry>& entry, LeaseInput input);
  absl::Status Apply(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction, LeaseInput input);
  void ApplyLater(const std::shared_ptr<JobEntry>& entry, LeaseInput input);
  // The trainer that holds the job has said what `edit` is about: what its silence has made of the job is taken back
  // first. Whether that changes anything.
  bool Hear(JobEdit& edit);
  // Whether nobody may attach yet: the job is hosted, and its trainer, if there is one, is not known by its handle, so
  // that it could not be killed.
  bool IsBeingStarted(const JobEntry& entry) const;
  // The stream of the trainer that held the job is over.
  absl::Status OnStreamEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction,
                           const std::string& reason);
  // After the commit of a stop: its trainer has `grace` to end, or less if that was asked for before.
  void StopWithin(const std::shared_ptr<JobEntry>& entry, absl::Duration grace);
  // Makes a job new for the next trainer that takes it: attempt and all that is counted in one.
  void BeginTenure(JobEdit& edit) const;
  // Writes and publishes an edit that ends a job, and lets the next one start.
  absl::Status Conclude(JobEdit& edit);

 private:
  std::shared_ptr<JobEntry> NextToStart() const;
  absl::Status BeginAttempt(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  void Launch(const std::shared_ptr<JobEntry>& entry, const LaunchRequest& request);
  absl::Status OnLaunched(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction, int32_t attempt,
                          const absl::StatusOr<std::string>& handle);
  void AdoptTrainer(const std::shared_ptr<JobEntry>& entry, const JobRow& row);
  // Makes what a restart means for a job durable, unless a trainer has attached meanwhile.
  absl::Status TellRecovery(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // What a launcher calls when the process has ended; does nothing once the manager is gone.
  absl::AnyInvocable<void(const ProcessEnd&)> EndCallback(const std::shared_ptr<JobEntry>& entry, int32_t attempt);
  absl::Status OnProcessEnd(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction, int32_t attempt,
                            const ProcessEnd& end);

  // What of a tick is about one job.
  void LookAfter(const std::shared_ptr<JobEntry>& entry);
  void KeepFigures(const std::shared_ptr<JobEntry>& entry);
  absl::Status SaveFigures(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);

  // The actions of the table; those of a knock are none of these.
  absl::Status Do(LeaseAction action, const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  // Whether an action that comes again on each tick changes anything now.
  static bool IsDue(LeaseAction action, const JobEntry& entry, const Lease& lease);
  absl::Status MakeRecovering(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  absl::Status Restore(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  static void CloseStream(JobEntry& entry);
  static void TellUnheard(JobEdit& edit);
  void Kill(JobEntry& entry);
  void HearLastWords(const std::shared_ptr<JobEntry>& entry);
  absl::Status ConcludeLost(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  absl::Status ConcludeAbsent(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);
  absl::Status ConcludeStopped(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction);

  absl::Duration Now() const { return context_->deps.clock->Monotonic(); }
  // The ledger's thread: the time of leases. Between two ticks two seconds pass at most: a server that was stopped, or
  // whose disk was, has not watched meanwhile, and takes nobody for silent.
  absl::Duration Watched() const;

  JobContext* const context_;
  LastWords* last_words_ = nullptr;
  Stalls stalls_{context_};
  // The ledger's thread.
  absl::Duration watched_;    // as of the last tick
  absl::Duration last_tick_;  // on the clock
  size_t saves_left_ = 0;     // of figures, in this tick

  std::atomic<bool> tick_waits_ = false;  // one is on its way: what queues up behind a slow disk is one tick
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_SUPERVISOR_H_
