// gRPC's server with all services, its settings, and its orderly end.
#ifndef GRADWATCH_SERVER_RPC_GRPC_SERVER_H_
#define GRADWATCH_SERVER_RPC_GRPC_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <climits>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/acceptor.h"
#include "server/rpc/listener.h"
#include "server/rpc/rpc_context.h"
#include "server/rpc/services.h"
#include "server/rpc/trainer_rpc.h"

namespace gradwatch::server {

class GrpcServer {
 public:
  // Serves who connects to `listener`. Of more than `connections` those that come last are turned away.
  // `context.streams` is filled in. UNAVAILABLE: it cannot be started.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(std::unique_ptr<Listener> listener, RpcContext context,
                                                           int connections = INT_MAX);
  // As ShutDown.
  ~GrpcServer();

  const Listener& listener() const { return *listener_; }

  // Time has passed; called about every second.
  void Tick();

  // Health says NOT_SERVING and nobody is let in any more; then calls are answered and streams are told and ended.
  // After half of `grace` connections are cut, and after all of it the calls that are left are cancelled. Returns when
  // all are over.
  void ShutDown(absl::Duration grace);

 private:
  GrpcServer(std::unique_ptr<Listener> listener, RpcContext context);
  absl::Status Serve();
  absl::Status Accept(int connections);
  void SetServing(bool serving);

  StreamRegistry streams_;
  const RpcContext context_;
  JobRpc job_rpc_{&context_};
  WatchRpc watch_rpc_{&context_};
  AlertRpc alert_rpc_{&context_};
  TrainerRpc trainer_rpc_{&context_};
  const std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;  // gRPC's end of the acceptor
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Acceptor> acceptor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_GRPC_SERVER_H_
