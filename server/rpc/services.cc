#include "server/rpc/services.h"

#include "server/rpc/byte_buffers.h"
#include "server/rpc/unary.h"

namespace gradwatch::server {
namespace {

// Decodes the request of a watch, opens it by `open`, and starts it.
template <typename Request>
ByteReactor* Watch(const RpcContext& context,
                   absl::StatusOr<std::shared_ptr<WatchSession>> (Api::*open)(const Request&, const Caller&),
                   CallContext* call, const grpc::ByteBuffer* bytes) {
  Request request;
  if (const absl::Status status = Parse(*bytes, &request); !status.ok()) {
    return StartWatch(context.streams, call, status);
  }
  return StartWatch(context.streams, call, (context.api->*open)(request, CallerOf(call)));
}

}  // namespace

UnaryReactor* JobRpc::CreateJob(CallContext* call, const v1::CreateJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::CreateJob, call, request, response);
}

UnaryReactor* JobRpc::GetJob(CallContext* call, const v1::GetJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::GetJob, call, request, response);
}

UnaryReactor* JobRpc::ListJobs(CallContext* call, const v1::ListJobsRequest* request, v1::ListJobsResponse* response) {
  return Call(context_->api, &Api::ListJobs, call, request, response);
}

UnaryReactor* JobRpc::UpdateJob(CallContext* call, const v1::UpdateJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::UpdateJob, call, request, response);
}

UnaryReactor* JobRpc::DeleteJob(CallContext* call, const v1::DeleteJobRequest* request,
                                v1::DeleteJobResponse* response) {
  return Call(context_->api, &Api::DeleteJob, call, request, response);
}

UnaryReactor* JobRpc::AdjustJob(CallContext* call, const v1::AdjustJobRequest* request,
                                v1::AdjustJobResponse* response) {
  return Call(context_->api, &Api::AdjustJob, call, request, response);
}

UnaryReactor* JobRpc::CancelEdit(CallContext* call, const v1::CancelEditRequest* request,
                                 v1::CancelEditResponse* response) {
  return Call(context_->api, &Api::CancelEdit, call, request, response);
}

UnaryReactor* JobRpc::ListEdits(CallContext* call, const v1::ListEditsRequest* request,
                                v1::ListEditsResponse* response) {
  return Call(context_->api, &Api::ListEdits, call, request, response);
}

UnaryReactor* JobRpc::PauseJob(CallContext* call, const v1::PauseJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::PauseJob, call, request, response);
}

UnaryReactor* JobRpc::ResumeJob(CallContext* call, const v1::ResumeJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::ResumeJob, call, request, response);
}

UnaryReactor* JobRpc::StopJob(CallContext* call, const v1::StopJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::StopJob, call, request, response);
}

UnaryReactor* JobRpc::CheckpointJob(CallContext* call, const v1::CheckpointJobRequest* request,
                                    v1::Checkpoint* response) {
  return Call(context_->api, &Api::CheckpointJob, call, request, response);
}

UnaryReactor* JobRpc::ListCheckpoints(CallContext* call, const v1::ListCheckpointsRequest* request,
                                      v1::ListCheckpointsResponse* response) {
  return Call(context_->api, &Api::ListCheckpoints, call, request, response);
}

UnaryReactor* JobRpc::ForkJob(CallContext* call, const v1::ForkJobRequest* request, v1::Job* response) {
  return Call(context_->api, &Api::ForkJob, call, request, response);
}

UnaryReactor* JobRpc::GetServerInfo(CallContext* call, const v1::GetServerInfoRequest* request,
                                    v1::ServerInfo* response) {
  return Call(context_->api, &Api::GetServerInfo, call, request, response);
}

ByteReactor* WatchRpc::WatchJob(CallContext* call, const grpc::ByteBuffer* request) {
  return Watch(*context_, &Api::WatchJob, call, request);
}

ByteReactor* WatchRpc::WatchJobs(CallContext* call, const grpc::ByteBuffer* request) {
  return Watch(*context_, &Api::WatchJobs, call, request);
}

UnaryReactor* WatchRpc::ListEvents(CallContext* call, const v1::ListEventsRequest* request,
                                   v1::ListEventsResponse* response) {
  return Call(context_->api, &Api::ListEvents, call, request, response);
}

UnaryReactor* WatchRpc::QueryStatistics(CallContext* call, const v1::QueryStatisticsRequest* request,
                                        v1::QueryStatisticsResponse* response) {
  return Call(context_->api, &Api::QueryStatistics, call, request, response);
}

ByteReactor* AlertRpc::WatchAlerts(CallContext* call, const grpc::ByteBuffer* request) {
  return Watch(*context_, &Api::WatchAlerts, call, request);
}

UnaryReactor* AlertRpc::ListAlerts(CallContext* call, const v1::ListAlertsRequest* request,
                                   v1::ListAlertsResponse* response) {
  return Call(context_->api, &Api::ListAlerts, call, request, response);
}

UnaryReactor* AlertRpc::GetAlert(CallContext* call, const v1::GetAlertRequest* request, v1::Alert* response) {
  return Call(context_->api, &Api::GetAlert, call, request, response);
}

UnaryReactor* AlertRpc::AcknowledgeAlert(CallContext* call, const v1::AcknowledgeAlertRequest* request,
                                         v1::Alert* response) {
  return Call(context_->api, &Api::AcknowledgeAlert, call, request, response);
}

UnaryReactor* AlertRpc::GetRules(CallContext* call, const v1::GetRulesRequest* request, v1::RuleSet* response) {
  return Call(context_->api, &Api::GetRules, call, request, response);
}

UnaryReactor* AlertRpc::ApplyRules(CallContext* call, const v1::ApplyRulesRequest* request,
                                   v1::ApplyRulesResponse* response) {
  return Call(context_->api, &Api::ApplyRules, call, request, response);
}

UnaryReactor* AlertRpc::CreateSilence(CallContext* call, const v1::CreateSilenceRequest* request,
                                      v1::Silence* response) {
  return Call(context_->api, &Api::CreateSilence, call, request, response);
}

UnaryReactor* AlertRpc::ListSilences(CallContext* call, const v1::ListSilencesRequest* request,
                                     v1::ListSilencesResponse* response) {
  return Call(context_->api, &Api::ListSilences, call, request, response);
}

UnaryReactor* AlertRpc::DeleteSilence(CallContext* call, const v1::DeleteSilenceRequest* request,
                                      v1::DeleteSilenceResponse* response) {
  return Call(context_->api, &Api::DeleteSilence, call, request, response);
}

}  // namespace gradwatch::server
