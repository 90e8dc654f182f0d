// Errors on the wire: absl::Status with its details as grpc::Status.
#ifndef GRADWATCH_SERVER_BASE_GRPC_STATUS_H_
#define GRADWATCH_SERVER_BASE_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace gradwatch::server {

// The same code. The message is cut to 1 KiB of valid UTF-8. Payloads under type.googleapis.com become details of a
// google.rpc.Status of at most 4 KiB, so that the trailers fit into the 8 KiB that clients take: the reason first, then
// the wrong fields, as many as fit, then others that fit.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_GRPC_STATUS_H_
