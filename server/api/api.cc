#include "server/api/api.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/api/job_watch.h"
#include "server/api/lists.h"
#include "server/api/statistics_answer.h"
#include "server/history/usage_messages.h"
#include "server/job/job_table.h"

namespace gradwatch::server {
namespace {

// Of stored reports that were read for watchers who catch up.
constexpr size_t kHistoryBytes = size_t{32} << 20;
constexpr size_t kMaxRequestBytes = size_t{256} << 10;

absl::Status NotServed(Operation operation) {
  return core::WithReason(absl::UnimplementedError(absl::StrCat(RowOf(operation).method, " is not served yet")),
                          "FEATURE_DISABLED");
}

}  // namespace

absl::Status CheckSize(const google::protobuf::Message& request) {
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= kMaxRequestBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the request is ", bytes, " bytes long; at most ", kMaxRequestBytes, " are taken"));
}

Api::Api(ApiDependencies dependencies)
    : deps_(std::move(dependencies)),
      history_(deps_.statistics, kHistoryBytes),
      feeds_{.ledger = deps_.reader,
             .history = &history_,
             .statistics = deps_.statistics,
             .tell_loss = [jobs = deps_.jobs](const std::string& uid,
                                              const std::string& what) { jobs->TellDataLoss(uid, what); },
             .log_epoch = deps_.info.log_epoch()},
      event_watches_{.events = deps_.events,
                     .ledger = deps_.reader,
                     .figures = std::make_shared<FiguresBoard>(deps_.jobs),
                     .hub = deps_.hub,
                     .clock = deps_.clock,
                     .log_epoch = deps_.info.log_epoch()},
      admission_(deps_.requests, deps_.clock, deps_.limits) {}

template <typename Response>
void Api::Query(Operation operation, Caller caller, Done<Response> done,
                absl::AnyInvocable<absl::StatusOr<Response>()> body) {
  admission_.Run<Response>(
      operation, std::move(caller), [body = std::move(body)](Done<Response> answer) mutable { answer(body()); },
      std::move(done));
}

template <typename Request, typename Response>
void Api::Change(Operation operation, Caller caller, Done<Response> done, Request request,
                 void (JobManager::*method)(Request, std::string, JobManager::Done<Response>)) {
  std::string actor = caller.name;
  admission_.Run<Response>(
      operation, std::move(caller),
      [jobs = deps_.jobs, method, request = std::move(request), actor = std::move(actor)](
          Done<Response> answer) mutable { (jobs->*method)(std::move(request), std::move(actor), std::move(answer)); },
      std::move(done));
}

template <typename Response>
void Api::Refuse(Operation operation, Caller caller, Done<Response> done) {
  Query<Response>(operation, std::move(caller), std::move(done), [operation] { return NotServed(operation); });
}

template <typename Make>
absl::StatusOr<std::shared_ptr<WatchSession>> Api::Open(Operation operation, Make make) {
  GW_ASSIGN_OR_RETURN(Admission::Watch admitted, admission_.Open(operation));
  auto session = make(&admitted);
  if (!session.ok()) {
    admitted.Close(session.status().code());
    return session.status();
  }
  return *std::move(session);
}

void Api::AddStatistics(v1::Job* job) const {
  *job->mutable_statistics() = ToStatisticsUsage(deps_.statistics->UsageOf(job->uid()));
}

void Api::CreateJob(v1::CreateJobRequest request, Caller caller, Done<v1::Job> done) {
  Change(Operation::kCreateJob, std::move(caller), std::move(done), std::move(request), &JobManager::CreateJob);
}

void Api::GetJob(v1::GetJobRequest request, Caller caller, Done<v1::Job> done) {
  Query<v1::Job>(Operation::kGetJob, std::move(caller), std::move(done),
                 [this, request = std::move(request)]() -> absl::StatusOr<v1::Job> {
                   if (!v1::JobView_IsValid(request.view())) {
                     return core::InvalidField("view", absl::StrCat(request.view(), " is not a view"));
                   }
                   GW_ASSIGN_OR_RETURN(v1::Job job, deps_.jobs->GetJob(request.job_id()));
                   TrimToView(request.view(), v1::JOB_VIEW_FULL, &job);
                   if (request.view() != v1::JOB_VIEW_BASIC) AddStatistics(&job);
                   return job;
                 });
}

void Api::ListJobs(v1::ListJobsRequest request, Caller caller, Done<v1::ListJobsResponse> done) {
  Query<v1::ListJobsResponse>(Operation::kListJobs, std::move(caller), std::move(done),
                              [this, request = std::move(request)]() -> absl::StatusOr<v1::ListJobsResponse> {
                                GW_ASSIGN_OR_RETURN(v1::ListJobsResponse page, deps_.jobs->ListJobs(request));
                                if (request.view() != v1::JOB_VIEW_FULL) return page;
                                for (v1::Job& job : *page.mutable_jobs()) AddStatistics(&job);
                                return page;
                              });
}

void Api::UpdateJob(v1::UpdateJobRequest request, Caller caller, Done<v1::Job> done) {
  Change(Operation::kUpdateJob, std::move(caller), std::move(done), std::move(request), &JobManager::UpdateJob);
}

void Api::DeleteJob(v1::DeleteJobRequest request, Caller caller, Done<v1::DeleteJobResponse> done) {
  Change(Operation::kDeleteJob, std::move(caller), std::move(done), std::move(request), &JobManager::DeleteJob);
}

void Api::AdjustJob(v1::AdjustJobRequest request, Caller caller, Done<v1::AdjustJobResponse> done) {
  Change(Operation::kAdjustJob, std::move(caller), std::move(done), std::move(request), &JobManager::AdjustJob);
}

void Api::CancelEdit(v1::CancelEditRequest request, Caller caller, Done<v1::CancelEditResponse> done) {
  Change(Operation::kCancelEdit, std::move(caller), std::move(done), std::move(request), &JobManager::CancelEdit);
}

void Api::ListEdits(v1::ListEditsRequest request, Caller caller, Done<v1::ListEditsResponse> done) {
  Query<v1::ListEditsResponse>(Operation::kListEdits, std::move(caller), std::move(done),
                               [this, request = std::move(request)] { return deps_.jobs->ListEdits(request); });
}

void Api::PauseJob(v1::PauseJobRequest request, Caller caller, Done<v1::Job> done) {
  Change(Operation::kPauseJob, std::move(caller), std::move(done), std::move(request), &JobManager::PauseJob);
}

void Api::ResumeJob(v1::ResumeJobRequest request, Caller caller, Done<v1::Job> done) {
  Change(Operation::kResumeJob, std::move(caller), std::move(done), std::move(request), &JobManager::ResumeJob);
}

void Api::StopJob(v1::StopJobRequest request, Caller caller, Done<v1::Job> done) {
  Change(Operation::kStopJob, std::move(caller), std::move(done), std::move(request), &JobManager::StopJob);
}

void Api::CheckpointJob(v1::CheckpointJobRequest, Caller caller, Done<v1::Checkpoint> done) {
  Refuse(Operation::kCheckpointJob, std::move(caller), std::move(done));
}

void Api::ListCheckpoints(v1::ListCheckpointsRequest, Caller caller, Done<v1::ListCheckpointsResponse> done) {
  Refuse(Operation::kListCheckpoints, std::move(caller), std::move(done));
}

void Api::ForkJob(v1::ForkJobRequest, Caller caller, Done<v1::Job> done) {
  Refuse(Operation::kForkJob, std::move(caller), std::move(done));
}

void Api::GetServerInfo(v1::GetServerInfoRequest, Caller caller, Done<v1::ServerInfo> done) {
  Query<v1::ServerInfo>(Operation::kGetServerInfo, std::move(caller), std::move(done), [this] {
    v1::ServerInfo info = deps_.info;
    *info.mutable_statistics() = ToStoreInfo(deps_.statistics->Usage());
    return info;
  });
}

void Api::ListEvents(v1::ListEventsRequest request, Caller caller, Done<v1::ListEventsResponse> done) {
  Query<v1::ListEventsResponse>(Operation::kListEvents, std::move(caller), std::move(done),
                                [this, request = std::move(request)]() -> absl::StatusOr<v1::ListEventsResponse> {
                                  GW_ASSIGN_OR_RETURN(const auto channel, deps_.jobs->GetChannel(request.job_id()));
                                  return server::ListEvents(deps_.reader, *channel, request);
                                });
}

void Api::QueryStatistics(v1::QueryStatisticsRequest request, Caller caller, Done<v1::QueryStatisticsResponse> done) {
  admission_.RunLong<v1::QueryStatisticsResponse>(
      Operation::kQueryStatistics, std::move(caller), deps_.questions,
      [this, request = std::move(request)](
          const Admission::StillWanted& wanted) -> absl::StatusOr<v1::QueryStatisticsResponse> {
        GW_ASSIGN_OR_RETURN(const v1::Job job, deps_.jobs->GetJob(request.job_id()));
        GW_ASSIGN_OR_RETURN(auto page, server::QueryStatistics(deps_.statistics, job, request, wanted));
        for (const v1::StatisticsLost& gap : page.gaps()) {
          if (!absl::StartsWith(gap.reason(), kDamagedReason)) continue;
          deps_.jobs->TellDataLoss(job.uid(),
                                   absl::StrCat("statistics of attempt ", gap.attempt(), ": ", gap.reason()));
          break;  // the others say the same
        }
        return page;
      },
      std::move(done));
}

void Api::ListAlerts(v1::ListAlertsRequest request, Caller caller, Done<v1::ListAlertsResponse> done) {
  Query<v1::ListAlertsResponse>(Operation::kListAlerts, std::move(caller), std::move(done),
                                [this, request = std::move(request)]() -> absl::StatusOr<v1::ListAlertsResponse> {
                                  GW_ASSIGN_OR_RETURN(v1::ListAlertsResponse page,
                                                      server::ListAlerts(deps_.reader, request));
                                  for (v1::Alert& alert : *page.mutable_alerts()) deps_.jobs->ShowSilences(&alert);
                                  return page;
                                });
}

void Api::GetAlert(v1::GetAlertRequest request, Caller caller, Done<v1::Alert> done) {
  Query<v1::Alert>(Operation::kGetAlert, std::move(caller), std::move(done),
                   [this, request = std::move(request)]() -> absl::StatusOr<v1::Alert> {
                     GW_ASSIGN_OR_RETURN(v1::Alert alert, deps_.reader->GetAlert(request.alert_id()));
                     deps_.jobs->ShowSilences(&alert);
                     return alert;
                   });
}

void Api::AcknowledgeAlert(v1::AcknowledgeAlertRequest request, Caller caller, Done<v1::Alert> done) {
  Change(Operation::kAcknowledgeAlert, std::move(caller), std::move(done), std::move(request),
         &JobManager::AcknowledgeAlert);
}

void Api::GetRules(v1::GetRulesRequest request, Caller caller, Done<v1::RuleSet> done) {
  Query<v1::RuleSet>(Operation::kGetRules, std::move(caller), std::move(done),
                     [this, request = std::move(request)] { return deps_.jobs->GetRules(request.job_id()); });
}

void Api::ApplyRules(v1::ApplyRulesRequest request, Caller caller, Done<v1::ApplyRulesResponse> done) {
  Change(Operation::kApplyRules, std::move(caller), std::move(done), std::move(request), &JobManager::ApplyRules);
}

void Api::CreateSilence(v1::CreateSilenceRequest request, Caller caller, Done<v1::Silence> done) {
  Change(Operation::kCreateSilence, std::move(caller), std::move(done), std::move(request), &JobManager::CreateSilence);
}

void Api::ListSilences(v1::ListSilencesRequest request, Caller caller, Done<v1::ListSilencesResponse> done) {
  Query<v1::ListSilencesResponse>(Operation::kListSilences, std::move(caller), std::move(done),
                                  [this, request = std::move(request)] { return deps_.jobs->ListSilences(request); });
}

void Api::DeleteSilence(v1::DeleteSilenceRequest request, Caller caller, Done<v1::DeleteSilenceResponse> done) {
  Change(Operation::kDeleteSilence, std::move(caller), std::move(done), std::move(request), &JobManager::DeleteSilence);
}

absl::StatusOr<std::shared_ptr<WatchSession>> Api::WatchJob(const v1::WatchJobRequest& request, const Caller&) {
  return Open(Operation::kWatchJob, [&](Admission::Watch* admitted) {
    return JobWatch::Create(request, deps_.jobs, &feeds_, deps_.hub, deps_.clock, admitted);
  });
}

absl::StatusOr<std::shared_ptr<WatchSession>> Api::WatchJobs(const v1::WatchJobsRequest& request, const Caller&) {
  return Open(Operation::kWatchJobs,
              [&](Admission::Watch* admitted) { return EventWatch::OfJobs(request, &event_watches_, admitted); });
}

absl::StatusOr<std::shared_ptr<WatchSession>> Api::WatchAlerts(const v1::WatchAlertsRequest& request, const Caller&) {
  return Open(Operation::kWatchAlerts,
              [&](Admission::Watch* admitted) { return EventWatch::OfAlerts(request, &event_watches_, admitted); });
}

void Api::Tick() {
  admission_.Tick();
  history_.Tick(deps_.clock->Monotonic());
  if (event_watches_.figures->Refresh()) deps_.hub->Notify(Hub::kFiguresTopic);
}

}  // namespace gradwatch::server
