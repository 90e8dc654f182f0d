// A watch over gRPC: the sink of a session as a stream that only the server writes to.
#ifndef GRADWATCH_SERVER_RPC_GRPC_WATCH_H_
#define GRADWATCH_SERVER_RPC_GRPC_WATCH_H_

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/statusor.h"
#include "server/api/stream_registry.h"
#include "server/api/watch_session.h"

namespace gradwatch::server {

using ByteReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

// Starts `session` over the stream of `call`, or refuses the call; the object for gRPC.
ByteReactor* StartWatch(StreamRegistry* streams, grpc::CallbackServerContext* call,
                        absl::StatusOr<std::shared_ptr<WatchSession>> session);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_GRPC_WATCH_H_
