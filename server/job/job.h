// One job: all that is durable of it, its working and its published copy, and one change of it, written and published.
#ifndef GRADWATCH_SERVER_JOB_JOB_H_
#define GRADWATCH_SERVER_JOB_JOB_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/job/launcher.h"
#include "server/job/pending_edits.h"
#include "server/job/report_intake.h"
#include "server/job/rules_in_force.h"
#include "server/job/stall_watch.h"
#include "server/job/trainer_lease.h"
#include "server/store/ledger.h"
#include "server/stream/job_channel.h"

namespace gradwatch::server {

struct JobContext;
class JobEntry;
class TrainerLink;

// Everything about a job that is durable: its row, and what its events say beyond the row. A value; what is published
// of it never changes any more.
struct JobRecord {
  JobRow row;
  // What follows is folded from the events; of a job that had ended when the server started it is not read.
  std::shared_ptr<const PendingEdits> edits = PendingEdits::None();  // accepted, and neither applied nor dropped
  int32_t applied_attempt = 0;                                       // the last one in which an edit was applied
  int64_t applied_from = 0;                                          // and the step from which the last one holds
  std::shared_ptr<const RuleAges> rule_ages = nullptr;   // null: no edit has changed the rules, or what is measured
  std::map<std::string, v1::Alert> open_alerts;          // pending and firing ones, by id
  std::map<std::string, int32_t> episodes;               // the last that was told of each rule in episodes_attempt
  std::map<std::string, int32_t> told_episodes;          // and how many were: trainers only count the others
  int32_t episodes_attempt = 0;                          // the last one in which alerts were told
  std::set<std::string> data_losses;                     // descriptions that were told
  bool attached = false;                                 // a trainer attached, and no event has told that it is gone
  v1::JobState before_recovery = v1::JOB_STATE_RUNNING;  // what the job did when its trainer was lost

  // Of a job that has ended, the large parts of row.job (spec, controls, tensors), serialised: there may be thousands,
  // and hardly anybody asks for them. Empty: they are in their place.
  std::string packed = {};

  void Pack();
  void Unpack();
  bool ended() const;
  // Accepted, and no trainer may attach: it waits for its turn.
  bool waiting() const;
  // Its trainer is a foreign program that attaches by itself. Not of a packed record.
  bool external() const { return row.job.spec().has_external(); }
  // Accepted, and nobody is or was at work on it: it waits for its turn, or for a foreign program to attach.
  bool unattended() const { return waiting() || (row.job.state() == v1::JOB_STATE_PENDING && external()); }
  // Whether some trainer may have edits of the controls, and have applied them.
  bool trainer_may_have_edits() const;
};

// Folds an event into the record: the parts beyond the row, and the figures of the job that events carry.
void FoldEvent(const v1::Event& event, JobRecord* record);
// The record of a stored job, its log read again unless it has ended.
absl::StatusOr<JobRecord> LoadRecord(JobRow row, LedgerReader* reader);
// Since when the rules of the job `uid` hold, by its log.
absl::StatusOr<RuleAges> ReadRuleAges(absl::string_view uid, LedgerReader* reader);
// Whether its log has a DATA_LOSS event with this description.
absl::StatusOr<bool> LogTellsDataLoss(absl::string_view uid, const std::string& description, LedgerReader* reader);
// The numbers of its steps are below this, also where its spec does not say how many it has.
int64_t MaxSteps(const v1::Job& job);
// What its reports may say; nothing of a job that is not there (null).
ReportLimits LimitsOf(const JobRecord* record);
// Why an edit that `actor` has withdrawn in time never held.
std::string WithdrawnBy(absl::string_view actor);
// Changes with each edit of a job's controls that is accepted or withdrawn, with its display name, its labels and its
// retention; not when an edit is applied.
std::string MakeEtag(const v1::Job& job);

// The trainer of a job as far as this life of the server knows it. Used on the ledger's thread only.
struct TrainerSlot {
  std::shared_ptr<TrainerLink> link;       // of the trainer that holds the job; null: none is attached
  bool welcomed = false;                   // the welcome was sent: directives may follow
  std::string handle;                      // as in JobRow, also while it could not be stored
  std::string claimant;                    // the trainer_id of one on its way in; empty: as JobRow says
  bool seen = false;                       // a trainer attached in this life
  bool recovers = false;                   // what a restart has made of the job is not durable yet
  bool to_be_killed = false;               // the launcher was asked to, and may not have known it yet
  std::optional<ProcessEnd> process_end;   // the process is gone
  bool ended_in_stop = false;              // a stop was durable when it ended
  std::optional<std::string> not_started;  // it could not be started, and why
  std::string unheard_words;  // why what it has left would not be heard, if the job ended now; empty: nothing is there
  std::optional<std::string> stream_end;  // the stream is over, and no event has told it yet
  Lease lease;                            // see Supervisor
  StallWatch stall;
  int32_t stall_episode = 0;  // alerts about stalls of this attempt are looked for behind it
  absl::Duration figures_saved = -absl::InfiniteDuration();  // when the live figures were last written to the row
};

// Steps of the present attempt of a job that has a working record, as far as their reports are stored and known in this
// life of the server. The ledger's thread.
int64_t ReportedSteps(const JobEntry& entry);

// Sends a directive to the trainer that holds the job, on the ledger's thread. One that is not welcomed yet learns all
// of it from the welcome and what comes right after it.
void SendIfAttached(const TrainerSlot& trainer, v1::TrainerDirective directive);

class JobEntry {
 public:
  // `order`: rises with each job; see JobTable.
  JobEntry(std::string uid, std::string job_id, int64_t order, std::shared_ptr<JobChannel> channel);

  const std::string uid;
  const std::string job_id;
  const int64_t order;
  const std::shared_ptr<JobChannel> channel;
  ReportIntake intake;

  // The ledger's thread only. The record as the operations so far leave it; null: the job is deleted. What runs after a
  // commit finds here what later operations of the same commit have left, so it gets the record that it is about.
  std::shared_ptr<const JobRecord> working;
  TrainerSlot trainer;

  // Thread-safe, all of these. The record as of the last commit; null: not committed yet, or deleted.
  std::shared_ptr<const JobRecord> published() const ABSL_LOCKS_EXCLUDED(mutex_);
  void Publish(std::shared_ptr<const JobRecord> record) ABSL_LOCKS_EXCLUDED(mutex_);
  // The published job with its live figures; nothing if it is not there.
  std::optional<v1::Job> Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);
  // How the job is doing; nothing if it is not there.
  std::optional<v1::JobFigures> Figures(absl::Duration now) const ABSL_LOCKS_EXCLUDED(mutex_);
  // False: somebody tells this loss already, or too many were told. Else whoever got true tells it, or calls
  // ForgetLoss.
  bool ClaimLoss(const std::string& description) ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetLoss(const std::string& description) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const JobRecord> published_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> claimed_losses_ ABSL_GUARDED_BY(mutex_);
};

// One change of one job: a new record and the events that say what changed, written together and then published. Lives
// within one operation of the ledger. Dropped without Publish, it has changed nothing.
//
//   JobEdit edit(context, entry, transaction);
//   edit.MoveTo(v1::JOB_STATE_RUNNING, "");
//   GW_RETURN_IF_ERROR(edit.Write());
//   ...what else may fail...
//   edit.Publish();
class JobEdit {
 public:
  // Starts from the working record, which must be there, unpacked, with the live figures merged in, and with the
  // trainer's handle where that could not be stored yet.
  JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction);
  // Starts from the first record of a new job.
  JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction, JobRecord first);

  const std::shared_ptr<JobEntry>& entry() const { return entry_; }
  JobRecord& record() { return *record_; }
  const JobRecord& record() const { return *record_; }
  v1::Job& job() { return record_->row.job; }

  // What is added from here on happened when so many steps were done, of which some may not be reported yet: events
  // tell it, the job does not, whose steps are those that are stored.
  void HappenedAfter(int64_t steps_done) { steps_done_ = std::max(steps_done_, steps_done); }
  // Adds an event: its content is set; number, attempt, steps done and job are filled in.
  void Append(v1::Event event);
  // Adds the event of an alert that takes another state: what the server knows of it, who acknowledged the episode and
  // which silences match, is filled in.
  void AppendAlert(v1::Alert alert);
  // The alerts of a rule that are pending or firing become as severe as the rule, where they are not.
  void SetSeverity(const v1::Rule& rule);
  // Ends all alerts that are pending or firing: they are so "when" something ended.
  void ResolveAlerts(absl::string_view when);
  void AppendDetached(const std::string& reason);
  // Adds the event that something of the job is lost, unless one has told the same.
  void AppendDataLoss(const std::string& description);
  // Adds the event that an edit that waits will never be applied.
  void AppendDropped(v1::Adjustment edit, std::string reason, bool may_have_held = false);
  // Moves the job to `state` by way of the states between, an event each; nothing if it is there already. False: there
  // is no way, and nothing has changed.
  bool MoveTo(v1::JobState state, const std::string& reason);
  // Ends the job: edits that wait are dropped, alerts that are pending or on are resolved, and it moves to the final
  // `state`. `reason` becomes Job.failure if that is FAILED. `all_told`: the trainer has said what became of all edits
  // that it has applied; else nobody can know of those that it had.
  void End(v1::JobState state, const std::string& reason, bool all_told = false);

  // Writes the record and the events.
  absl::Status Write();
  // After Write: the change holds for later operations, and for everybody once it is committed; then `then` runs with
  // the record as this change left it. Nothing that may fail must come after it in the operation.
  void Publish(absl::AnyInvocable<void(const JobRecord&)> then = nullptr);

 private:
  struct Entry {
    v1::Event event;
    int64_t position = 0;  // once written
  };
  // Makes a committed change visible.
  static void Show(JobContext* context, const std::shared_ptr<JobEntry>& entry, std::shared_ptr<const JobRecord> record,
                   const std::vector<Entry>& events);
  static void ProtectAround(const std::string& uid, const v1::Alert& alert, StatisticsStore& statistics);

  JobContext* const context_;
  const std::shared_ptr<JobEntry> entry_;
  LedgerTransaction* const transaction_;
  const std::shared_ptr<JobRecord> record_;
  int64_t steps_done_ = 0;  // see HappenedAfter
  std::vector<Entry> events_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_H_
