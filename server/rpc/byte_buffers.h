// Messages as gRPC carries them.
#ifndef GRADWATCH_SERVER_RPC_BYTE_BUFFERS_H_
#define GRADWATCH_SERVER_RPC_BYTE_BUFFERS_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

// INVALID_ARGUMENT: the bytes are not such a message.
absl::Status Parse(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message);

// Always a valid buffer, also for a message without content. Large parts are shared, small ones copied together: each
// part of a buffer costs as much as some thousand bytes.
grpc::ByteBuffer ToBuffer(const EncodedMessage& message);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_BYTE_BUFFERS_H_
