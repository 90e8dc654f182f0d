// Every operation of the services, free of any transport: a request and its caller in, an answer or a watch out.
//
// Adapters (server/rpc) only decode, name the caller, call and encode. What is the same for all operations (deadline,
// limits, counters) stands in front of them in one place: see Admission.
#ifndef GRADWATCH_SERVER_API_API_H_
#define GRADWATCH_SERVER_API_API_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/job_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/api/admission.h"
#include "server/api/event_watch.h"
#include "server/api/figures_board.h"
#include "server/api/watch_session.h"
#include "server/job/job_manager.h"
#include "server/stream/watch_feed.h"

namespace gradwatch::server {

// All outlive the Api, and the executor outlives every call of the job manager too.
struct ApiDependencies {
  JobManager* jobs;
  LedgerReader* reader;
  StatisticsStore* statistics;
  Hub* hub;
  const EventChannel* events;
  Executor* requests;   // for quick calls only
  Executor* questions;  // for those that read much
  const core::Clock* clock;
  v1::ServerInfo info;
  AdmissionLimits limits = {};
};

// INVALID_ARGUMENT: a request of more than 256 KiB, which is many times what any that is meant takes.
absl::Status CheckSize(const google::protobuf::Message& request);

// Thread-safe. No call blocks.
class Api {
 public:
  // Runs once, on the executor, or at once where a call is refused at the door.
  template <typename Response>
  using Done = Admission::Done<Response>;

  explicit Api(ApiDependencies dependencies);

  // JobService. Errors as the comments of the services say, and those of Admission::Run.
  void CreateJob(v1::CreateJobRequest request, Caller caller, Done<v1::Job> done);
  void GetJob(v1::GetJobRequest request, Caller caller, Done<v1::Job> done);
  void ListJobs(v1::ListJobsRequest request, Caller caller, Done<v1::ListJobsResponse> done);
  void UpdateJob(v1::UpdateJobRequest request, Caller caller, Done<v1::Job> done);
  void DeleteJob(v1::DeleteJobRequest request, Caller caller, Done<v1::DeleteJobResponse> done);
  void AdjustJob(v1::AdjustJobRequest request, Caller caller, Done<v1::AdjustJobResponse> done);
  void CancelEdit(v1::CancelEditRequest request, Caller caller, Done<v1::CancelEditResponse> done);
  void ListEdits(v1::ListEditsRequest request, Caller caller, Done<v1::ListEditsResponse> done);
  void PauseJob(v1::PauseJobRequest request, Caller caller, Done<v1::Job> done);
  void ResumeJob(v1::ResumeJobRequest request, Caller caller, Done<v1::Job> done);
  void StopJob(v1::StopJobRequest request, Caller caller, Done<v1::Job> done);
  void CheckpointJob(v1::CheckpointJobRequest request, Caller caller, Done<v1::Checkpoint> done);
  void ListCheckpoints(v1::ListCheckpointsRequest request, Caller caller, Done<v1::ListCheckpointsResponse> done);
  void ForkJob(v1::ForkJobRequest request, Caller caller, Done<v1::Job> done);
  void GetServerInfo(v1::GetServerInfoRequest request, Caller caller, Done<v1::ServerInfo> done);

  // WatchService.
  void ListEvents(v1::ListEventsRequest request, Caller caller, Done<v1::ListEventsResponse> done);
  void QueryStatistics(v1::QueryStatisticsRequest request, Caller caller, Done<v1::QueryStatisticsResponse> done);

  // AlertService.
  void ListAlerts(v1::ListAlertsRequest request, Caller caller, Done<v1::ListAlertsResponse> done);
  void GetAlert(v1::GetAlertRequest request, Caller caller, Done<v1::Alert> done);
  void AcknowledgeAlert(v1::AcknowledgeAlertRequest request, Caller caller, Done<v1::Alert> done);
  void GetRules(v1::GetRulesRequest request, Caller caller, Done<v1::RuleSet> done);
  void ApplyRules(v1::ApplyRulesRequest request, Caller caller, Done<v1::ApplyRulesResponse> done);
  void CreateSilence(v1::CreateSilenceRequest request, Caller caller, Done<v1::Silence> done);
  void ListSilences(v1::ListSilencesRequest request, Caller caller, Done<v1::ListSilencesResponse> done);
  void DeleteSilence(v1::DeleteSilenceRequest request, Caller caller, Done<v1::DeleteSilenceResponse> done);

  // Watches: the session is started with a sink (see WatchSession::Start), and ends before this does. Reads memory
  // only.
  absl::StatusOr<std::shared_ptr<WatchSession>> WatchJob(const v1::WatchJobRequest& request, const Caller& caller);
  absl::StatusOr<std::shared_ptr<WatchSession>> WatchJobs(const v1::WatchJobsRequest& request, const Caller& caller);
  absl::StatusOr<std::shared_ptr<WatchSession>> WatchAlerts(const v1::WatchAlertsRequest& request,
                                                            const Caller& caller);

  // Counts a trainer's stream; what passes over it is between the trainer and the job manager. Errors as
  // Admission::Open.
  absl::StatusOr<Admission::Watch> AdmitTrainer() { return admission_.Open(Operation::kAttachTrainer); }

  // Time has passed; called about every second.
  void Tick();
  // No more calls and watches (UNAVAILABLE, reason SHUTTING_DOWN). Waits up to `grace` for calls that are under way,
  // and answers those that are left: afterwards none is open. Sessions are ended by the transport's StreamRegistry.
  void ShutDown(absl::Duration grace) { admission_.ShutDown(grace); }

  const CallMetrics& metrics() const { return admission_.metrics(); }

 private:
  template <typename Response>
  void Query(Operation operation, Caller caller, Done<Response> done,
             absl::AnyInvocable<absl::StatusOr<Response>()> body);
  template <typename Request, typename Response>
  void Change(Operation operation, Caller caller, Done<Response> done, Request request,
              void (JobManager::*method)(Request, std::string, JobManager::Done<Response>));
  template <typename Response>
  void Refuse(Operation operation, Caller caller, Done<Response> done);
  // Puts what is stored of a job's statistics into it.
  void AddStatistics(v1::Job* job) const;
  // Opens a watch that `make` makes of its admission, and counts it as an error if that fails.
  template <typename Make>
  absl::StatusOr<std::shared_ptr<WatchSession>> Open(Operation operation, Make make);

  const ApiDependencies deps_;
  ReportHistory history_;
  const FeedSources feeds_;
  const EventWatchContext event_watches_;
  Admission admission_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_API_H_
