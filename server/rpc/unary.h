// Unary calls: asked on a thread of gRPC, answered from the executor.
#ifndef GRADWATCH_SERVER_RPC_UNARY_H_
#define GRADWATCH_SERVER_RPC_UNARY_H_

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "server/base/executor.h"
#include "server/base/grpc_status.h"

namespace gradwatch::server {

// Runs `work` on the executor and answers the call with what it returns.
template <typename Response>
grpc::ServerUnaryReactor* Answer(Executor* executor, grpc::CallbackServerContext* call, Response* response,
                                 absl::AnyInvocable<absl::StatusOr<Response>()> work) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  executor->Run([reactor, response, work = std::move(work)]() mutable {
    absl::StatusOr<Response> result = work();
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(ToGrpcStatus(result.status()));
  });
  return reactor;
}

// What answers `call` when it runs, from the executor: it may run on a thread that others wait for.
template <typename Response>
absl::AnyInvocable<void(absl::StatusOr<Response>)> AnswerLater(Executor* executor, grpc::ServerUnaryReactor* reactor,
                                                               Response* response) {
  return [executor, reactor, response](absl::StatusOr<Response> result) {
    executor->Run([reactor, response, result = std::move(result)]() mutable {
      if (result.ok()) *response = *std::move(result);
      reactor->Finish(ToGrpcStatus(result.status()));
    });
  };
}

// UNIMPLEMENTED: "<call> is not served yet".
grpc::ServerUnaryReactor* NotServed(grpc::CallbackServerContext* call, const char* name);
absl::Status NotServedStatus(const char* name);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_UNARY_H_
