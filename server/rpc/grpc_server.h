// gRPC's server with all services, its settings, and its orderly end.
#ifndef GRADWATCH_SERVER_RPC_GRPC_SERVER_H_
#define GRADWATCH_SERVER_RPC_GRPC_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/rpc_context.h"
#include "server/rpc/services.h"
#include "server/rpc/trainer_rpc.h"

namespace gradwatch::server {

class GrpcServer {
 public:
  // Listens on `address` ("127.0.0.1:7700"; port 0: a free one) and serves. `context.streams` is filled in.
  // INVALID_ARGUMENT: it is no such address. UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const std::string& address, RpcContext context);
  // As ShutDown.
  ~GrpcServer();

  // The address with the port that was bound.
  const std::string& address() const { return address_; }

  // Time has passed; called about every second.
  void Tick();

  // Health says NOT_SERVING, streams are told and ended, then all other calls; takes three times `grace` at most.
  void ShutDown(absl::Duration grace);

 private:
  explicit GrpcServer(RpcContext context);
  absl::Status Listen(const std::string& address);
  void SetServing(bool serving);

  StreamRegistry streams_;
  const RpcContext context_;
  JobRpc job_rpc_{&context_};
  WatchRpc watch_rpc_{&context_};
  AlertRpc alert_rpc_{&context_};
  TrainerRpc trainer_rpc_{&context_};
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_GRPC_SERVER_H_
