// Calls that are answered once: who calls, what is asked, and the answer, handed between gRPC and the Api.
#ifndef GRADWATCH_SERVER_RPC_UNARY_H_
#define GRADWATCH_SERVER_RPC_UNARY_H_

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/api/api.h"
#include "server/base/grpc_status.h"

namespace gradwatch::server {

// `call` lives until the call is answered.
inline Caller CallerOf(grpc::CallbackServerContext* call) {
  const absl::Duration left = absl::FromChrono(call->deadline()) - absl::Now();
  const bool has_deadline = left < absl::Hours(24 * 365);  // without one it lies centuries ahead
  return {.name = call->peer(), .timeout = has_deadline ? left : absl::InfiniteDuration(), .cancelled = [call] {
            return call->IsCancelled();
          }};
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Call(Api* api, void (Api::*operation)(Request, Caller, Api::Done<Response>),
                               grpc::CallbackServerContext* call, const Request* request, Response* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  // Before anything of it is copied: what takes 4 MB on the wire takes forty times that in memory.
  if (const absl::Status status = CheckSize(*request); !status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }
  (api->*operation)(*request, CallerOf(call), [reactor, response](absl::StatusOr<Response> result) {
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(ToGrpcStatus(result.status()));
  });
  return reactor;
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_UNARY_H_
