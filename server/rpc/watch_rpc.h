// WatchService on the wire: opens streams of jobs, reads their events.
#ifndef GRADWATCH_SERVER_RPC_WATCH_RPC_H_
#define GRADWATCH_SERVER_RPC_WATCH_RPC_H_

#include "gradwatch/v1/watch_service.grpc.pb.h"
#include "server/rpc/rpc_context.h"
#include "server/rpc/write_stream.h"

namespace gradwatch::server {

// WatchJob is raw: events and reports are serialised once, and its messages are made of these bytes.
using RawWatchService = v1::WatchService::WithRawCallbackMethod_WatchJob<
    v1::WatchService::WithCallbackMethod_WatchJobs<v1::WatchService::WithCallbackMethod_ListEvents<
        v1::WatchService::WithCallbackMethod_QueryStatistics<v1::WatchService::Service>>>>;

// Thread-safe.
class WatchRpc final : public RawWatchService {
 public:
  explicit WatchRpc(const RpcContext* context) : context_(context) {}

  ByteReactor* WatchJob(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) override;
  grpc::ServerWriteReactor<v1::WatchJobsResponse>* WatchJobs(grpc::CallbackServerContext* call,
                                                             const v1::WatchJobsRequest* request) override;
  grpc::ServerUnaryReactor* ListEvents(grpc::CallbackServerContext* call, const v1::ListEventsRequest* request,
                                       v1::ListEventsResponse* response) override;
  grpc::ServerUnaryReactor* QueryStatistics(grpc::CallbackServerContext* call,
                                            const v1::QueryStatisticsRequest* request,
                                            v1::QueryStatisticsResponse* response) override;

 private:
  absl::StatusOr<v1::ListEventsResponse> ListEventsOf(const v1::ListEventsRequest& request);

  const RpcContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_WATCH_RPC_H_
