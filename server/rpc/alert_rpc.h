// AlertService on the wire: reads alerts from the ledger, opens streams of them.
#ifndef GRADWATCH_SERVER_RPC_ALERT_RPC_H_
#define GRADWATCH_SERVER_RPC_ALERT_RPC_H_

#include "gradwatch/v1/alert_service.grpc.pb.h"
#include "server/rpc/rpc_context.h"
#include "server/rpc/write_stream.h"

namespace gradwatch::server {

// WatchAlerts is raw: its messages are bytes.
using RawAlertService =
    v1::AlertService::WithRawCallbackMethod_WatchAlerts<v1::AlertService::WithCallbackMethod_ListAlerts<
        v1::AlertService::WithCallbackMethod_GetAlert<v1::AlertService::WithCallbackMethod_AcknowledgeAlert<
            v1::AlertService::WithCallbackMethod_GetRules<v1::AlertService::WithCallbackMethod_ApplyRules<
                v1::AlertService::WithCallbackMethod_CreateSilence<v1::AlertService::WithCallbackMethod_ListSilences<
                    v1::AlertService::WithCallbackMethod_DeleteSilence<v1::AlertService::Service>>>>>>>>>;

// Thread-safe.
class AlertRpc final : public RawAlertService {
 public:
  explicit AlertRpc(const RpcContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* ListAlerts(grpc::CallbackServerContext* call, const v1::ListAlertsRequest* request,
                                       v1::ListAlertsResponse* response) override;
  grpc::ServerUnaryReactor* GetAlert(grpc::CallbackServerContext* call, const v1::GetAlertRequest* request,
                                     v1::Alert* response) override;
  grpc::ServerUnaryReactor* AcknowledgeAlert(grpc::CallbackServerContext* call,
                                             const v1::AcknowledgeAlertRequest* request, v1::Alert* response) override;
  grpc::ServerUnaryReactor* GetRules(grpc::CallbackServerContext* call, const v1::GetRulesRequest* request,
                                     v1::RuleSet* response) override;
  grpc::ServerUnaryReactor* ApplyRules(grpc::CallbackServerContext* call, const v1::ApplyRulesRequest* request,
                                       v1::RuleSet* response) override;
  grpc::ServerUnaryReactor* CreateSilence(grpc::CallbackServerContext* call, const v1::CreateSilenceRequest* request,
                                          v1::Silence* response) override;
  grpc::ServerUnaryReactor* ListSilences(grpc::CallbackServerContext* call, const v1::ListSilencesRequest* request,
                                         v1::ListSilencesResponse* response) override;
  grpc::ServerUnaryReactor* DeleteSilence(grpc::CallbackServerContext* call, const v1::DeleteSilenceRequest* request,
                                          v1::DeleteSilenceResponse* response) override;
  ByteReactor* WatchAlerts(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) override;

 private:
  const RpcContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_ALERT_RPC_H_
