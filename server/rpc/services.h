// JobService, WatchService and AlertService on the wire: each call is handed to the Api.
#ifndef GRADWATCH_SERVER_RPC_SERVICES_H_
#define GRADWATCH_SERVER_RPC_SERVICES_H_

#include "gradwatch/v1/alert_service.grpc.pb.h"
#include "gradwatch/v1/job_service.grpc.pb.h"
#include "gradwatch/v1/watch_service.grpc.pb.h"
#include "server/rpc/grpc_watch.h"
#include "server/rpc/rpc_context.h"

namespace gradwatch::server {

using CallContext = grpc::CallbackServerContext;
using UnaryReactor = grpc::ServerUnaryReactor;

// All are thread-safe.
class JobRpc final : public v1::JobService::CallbackService {
 public:
  explicit JobRpc(const RpcContext* context) : context_(context) {}

  UnaryReactor* CreateJob(CallContext*, const v1::CreateJobRequest*, v1::Job*) override;
  UnaryReactor* GetJob(CallContext*, const v1::GetJobRequest*, v1::Job*) override;
  UnaryReactor* ListJobs(CallContext*, const v1::ListJobsRequest*, v1::ListJobsResponse*) override;
  UnaryReactor* UpdateJob(CallContext*, const v1::UpdateJobRequest*, v1::Job*) override;
  UnaryReactor* DeleteJob(CallContext*, const v1::DeleteJobRequest*, v1::DeleteJobResponse*) override;
  UnaryReactor* AdjustJob(CallContext*, const v1::AdjustJobRequest*, v1::AdjustJobResponse*) override;
  UnaryReactor* CancelEdit(CallContext*, const v1::CancelEditRequest*, v1::CancelEditResponse*) override;
  UnaryReactor* ListEdits(CallContext*, const v1::ListEditsRequest*, v1::ListEditsResponse*) override;
  UnaryReactor* PauseJob(CallContext*, const v1::PauseJobRequest*, v1::Job*) override;
  UnaryReactor* ResumeJob(CallContext*, const v1::ResumeJobRequest*, v1::Job*) override;
  UnaryReactor* StopJob(CallContext*, const v1::StopJobRequest*, v1::Job*) override;
  UnaryReactor* CheckpointJob(CallContext*, const v1::CheckpointJobRequest*, v1::Checkpoint*) override;
  UnaryReactor* ListCheckpoints(CallContext*, const v1::ListCheckpointsRequest*, v1::ListCheckpointsResponse*) override;
  UnaryReactor* ForkJob(CallContext*, const v1::ForkJobRequest*, v1::Job*) override;
  UnaryReactor* GetServerInfo(CallContext*, const v1::GetServerInfoRequest*, v1::ServerInfo*) override;

 private:
  const RpcContext* const context_;
};

// Watches are raw: their messages are made of bytes that were encoded once for all.
using RawWatchService = v1::WatchService::WithRawCallbackMethod_WatchJob<
    v1::WatchService::WithRawCallbackMethod_WatchJobs<v1::WatchService::WithCallbackMethod_ListEvents<
        v1::WatchService::WithCallbackMethod_QueryStatistics<v1::WatchService::Service>>>>;

class WatchRpc final : public RawWatchService {
 public:
  explicit WatchRpc(const RpcContext* context) : context_(context) {}

  ByteReactor* WatchJob(CallContext* call, const grpc::ByteBuffer* request) override;
  ByteReactor* WatchJobs(CallContext* call, const grpc::ByteBuffer* request) override;
  UnaryReactor* ListEvents(CallContext*, const v1::ListEventsRequest*, v1::ListEventsResponse*) override;
  UnaryReactor* QueryStatistics(CallContext*, const v1::QueryStatisticsRequest*, v1::QueryStatisticsResponse*) override;

 private:
  const RpcContext* const context_;
};

using RawAlertService =
    v1::AlertService::WithRawCallbackMethod_WatchAlerts<v1::AlertService::WithCallbackMethod_ListAlerts<
        v1::AlertService::WithCallbackMethod_GetAlert<v1::AlertService::WithCallbackMethod_AcknowledgeAlert<
            v1::AlertService::WithCallbackMethod_GetRules<v1::AlertService::WithCallbackMethod_ApplyRules<
                v1::AlertService::WithCallbackMethod_CreateSilence<v1::AlertService::WithCallbackMethod_ListSilences<
                    v1::AlertService::WithCallbackMethod_DeleteSilence<v1::AlertService::Service>>>>>>>>>;

class AlertRpc final : public RawAlertService {
 public:
  explicit AlertRpc(const RpcContext* context) : context_(context) {}

  ByteReactor* WatchAlerts(CallContext* call, const grpc::ByteBuffer* request) override;
  UnaryReactor* ListAlerts(CallContext*, const v1::ListAlertsRequest*, v1::ListAlertsResponse*) override;
  UnaryReactor* GetAlert(CallContext*, const v1::GetAlertRequest*, v1::Alert*) override;
  UnaryReactor* AcknowledgeAlert(CallContext*, const v1::AcknowledgeAlertRequest*, v1::Alert*) override;
  UnaryReactor* GetRules(CallContext*, const v1::GetRulesRequest*, v1::RuleSet*) override;
  UnaryReactor* ApplyRules(CallContext*, const v1::ApplyRulesRequest*, v1::ApplyRulesResponse*) override;
  UnaryReactor* CreateSilence(CallContext*, const v1::CreateSilenceRequest*, v1::Silence*) override;
  UnaryReactor* ListSilences(CallContext*, const v1::ListSilencesRequest*, v1::ListSilencesResponse*) override;
  UnaryReactor* DeleteSilence(CallContext*, const v1::DeleteSilenceRequest*, v1::DeleteSilenceResponse*) override;

 private:
  const RpcContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_SERVICES_H_
