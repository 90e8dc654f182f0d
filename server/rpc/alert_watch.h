// The stream of one WatchAlerts call.
#ifndef GRADWATCH_SERVER_RPC_ALERT_WATCH_H_
#define GRADWATCH_SERVER_RPC_ALERT_WATCH_H_

#include <string>

#include "gradwatch/v1/alert_service.pb.h"
#include "server/rpc/write_stream.h"

namespace gradwatch::server {

class AlertWatch final : public WriteStream {
 public:
  // Errors of the request, as AlertService.WatchAlerts says, end the stream: checking it needs the store, for which no
  // thread of gRPC may wait.
  AlertWatch(const RpcContext* context, v1::WatchAlertsRequest request);

 private:
  Output Produce() override;
  grpc::ByteBuffer ProduceBookmark() override;
  Output ProduceShutdown() override;
  std::string Token() const;

  const v1::WatchAlertsRequest request_;
  int64_t position_ = 0;  // of the last event that was delivered or passed over
  bool started_ = false;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_ALERT_WATCH_H_
