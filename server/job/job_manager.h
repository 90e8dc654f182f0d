// The life of all jobs: what users ask for, what trainers say, and what becomes of it, as durable events.
//
// Every change runs on the ledger's thread (see Ledger), which alone owns the working state; what others read is a copy
// that is replaced after each commit. Calls return at once; `done` runs after the change is durable.
#ifndef GRADWATCH_SERVER_JOB_JOB_MANAGER_H_
#define GRADWATCH_SERVER_JOB_JOB_MANAGER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/data/data_root.h"
#include "core/spec/job_spec.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/job_service.pb.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/base/executor.h"
#include "server/history/statistics_store.h"
#include "server/job/launcher.h"
#include "server/job/trainer_lease.h"
#include "server/store/ledger.h"
#include "server/stream/event_channel.h"
#include "server/stream/hub.h"
#include "server/stream/job_channel.h"
#include "server/stream/ring_budget.h"

namespace gradwatch::server {

// What the manager works with; all outlive it.
struct JobManagerDependencies {
  Ledger* ledger;
  LedgerReader* reader;  // for what the events say beyond the rows
  StatisticsStore* statistics;
  Hub* hub;
  EventChannel* events;  // gets the events of all jobs
  RingBudget* rings;     // of the channels of jobs
  Launcher* launcher;
  Executor* executor;  // for what is slow: starting trainers, reading and removing files
  SpecChecker* checker;
  const core::Clock* clock;
};

struct JobManagerOptions {
  core::DataRoots data_roots;
  core::SpecLimits limits;
  std::string words_folder = {};  // where trainers leave last words; empty: nowhere
  int max_running_jobs = 16;      // hosted ones; more wait as PENDING
  int max_waiting_jobs = 1000;    // more are refused
  int max_external_jobs = 1000;   // that have not ended; more are refused
  LeaseTimes lease = {};          // how long a job waits for its trainer
};

// The server's end of an attached trainer. Thread-safe; never blocks; messages to a trainer that is gone are dropped.
class TrainerLink {
 public:
  virtual ~TrainerLink() = default;
  // Queues a directive; they arrive in order.
  virtual void Send(v1::TrainerDirective directive) = 0;
  // Ends the stream with this status, after what was queued. The first call counts.
  virtual void Close(const absl::Status& status) = 0;

  // What came from the trainer.
  enum class Heard {
    kNothing,
    kMessage,
    kBusy,  // so much that the next message is not read yet: the server is in arrears, not the trainer
  };
  // Since the last call.
  virtual Heard TakeHeard() = 0;
};

// Thread-safe.
class JobManager {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  // Reads the jobs of the ledger and looks for trainers that may still be alive. Start comes next.
  static absl::StatusOr<std::unique_ptr<JobManager>> Create(JobManagerDependencies dependencies,
                                                            JobManagerOptions options);
  // Waits for the callbacks that are on their way; call it from none of the threads of the dependencies.
  virtual ~JobManager() = default;

  // Starts what waits. Call it once, when trainers can reach the server.
  virtual void Start() = 0;

  // The calls of JobService; errors as its comments say. `actor` is who asks. `done` runs once, on
  // a thread of the ledger, of the checker of specs, or before the call returns.
  virtual void CreateJob(v1::CreateJobRequest request, std::string actor, Done<v1::Job> done) = 0;
  virtual absl::StatusOr<v1::Job> GetJob(absl::string_view job_id) const = 0;
  virtual absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) const = 0;
  virtual void DeleteJob(v1::DeleteJobRequest request, std::string actor, Done<v1::DeleteJobResponse> done) = 0;
  virtual void AdjustJob(v1::AdjustJobRequest request, std::string actor, Done<v1::AdjustJobResponse> done) = 0;
  virtual void CancelEdit(v1::CancelEditRequest request, std::string actor, Done<v1::CancelEditResponse> done) = 0;
  virtual absl::StatusOr<v1::ListEditsResponse> ListEdits(const v1::ListEditsRequest& request) const = 0;
  virtual void PauseJob(v1::PauseJobRequest request, std::string actor, Done<v1::Job> done) = 0;
  virtual void ResumeJob(v1::ResumeJobRequest request, std::string actor, Done<v1::Job> done) = 0;
  virtual void StopJob(v1::StopJobRequest request, std::string actor, Done<v1::Job> done) = 0;

  // Display name, labels and retention, of jobs that have ended too.
  virtual void UpdateJob(v1::UpdateJobRequest request, std::string actor, Done<v1::Job> done) = 0;

  // The calls of AlertService that change something, and what they left. Rules are changed by an edit of the controls.
  virtual absl::StatusOr<v1::RuleSet> GetRules(absl::string_view job_id) const = 0;
  virtual void ApplyRules(v1::ApplyRulesRequest request, std::string actor, Done<v1::ApplyRulesResponse> done) = 0;
  virtual void AcknowledgeAlert(v1::AcknowledgeAlertRequest request, std::string actor, Done<v1::Alert> done) = 0;
  virtual void CreateSilence(v1::CreateSilenceRequest request, std::string actor, Done<v1::Silence> done) = 0;
  virtual void DeleteSilence(v1::DeleteSilenceRequest request, std::string actor,
                             Done<v1::DeleteSilenceResponse> done) = 0;
  virtual absl::StatusOr<v1::ListSilencesResponse> ListSilences(const v1::ListSilencesRequest& request) const = 0;
  // Puts the silences that match now into an alert that has not ended.
  virtual void ShowSilences(v1::Alert* alert) const = 0;

  // How the jobs that have not ended are doing.
  virtual std::vector<v1::JobFigures> Figures() const = 0;
  // What was stored of the job `uid` is damaged or gone: makes it an event, once for each description.
  virtual void TellDataLoss(absl::string_view uid, std::string description) = 0;

  // The logs of a job, for watchers. NOT_FOUND.
  virtual absl::StatusOr<std::shared_ptr<JobChannel>> GetChannel(absl::string_view job_id) const = 0;

  // A trainer attaches. `done` runs after the welcome was sent through the link; then the calls below are allowed.
  // Errors as AttachTrainer's comment says. A link that was attached before is closed with UNAVAILABLE: its trainer may
  // be the same one, whose streams are read in any order. One that has lost the job is told so (ABORTED) when it
  // knocks.
  struct Attachment {
    std::string job_id;
    std::string uid;
    int32_t attempt = 0;
    int64_t epoch = 0;  // TrainerWelcome.epoch
  };
  virtual void Attach(v1::TrainerHello hello, std::shared_ptr<TrainerLink> link, Done<Attachment> done) = 0;
  // Reports of the attached trainer, in the order in which they came; acknowledged through the link when stored. More
  // may come at once. `accepted` runs when they take no memory any more but that of the logs, on any thread; if the
  // batch is refused the link is closed instead.
  virtual void OnReports(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link, v1::ReportBatch batch,
                         absl::AnyInvocable<void()> accepted) = 0;
  // Notices of the attached trainer, recorded together; acknowledged through the link when durable. `accepted` as
  // above. They wait for no reports, but for TrainerFinished, behind which all reports of the job that came before it
  // are stored. Reports that tell tensors of a ModelReady come when that was accepted.
  virtual void OnNotices(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link, v1::NoticeBatch batch,
                         absl::AnyInvocable<void()> accepted) = 0;
  // The trainer's stream is over.
  virtual void OnDetached(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link,
                          const std::string& reason) = 0;

  // Time has passed: looks after trainers that are silent, away or to be stopped. Called about every second by the
  // owner; what passes between two calls counts as two seconds at most.
  virtual void Tick() = 0;
  // No more jobs are started or accepted (UNAVAILABLE, reason SHUTTING_DOWN). Trainers go on.
  virtual void Drain() = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_MANAGER_H_
