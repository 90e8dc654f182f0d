#include "server/rpc/byte_buffers.h"

#include <grpcpp/support/slice.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"

namespace gradwatch::server {

absl::Status Parse(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message) {
  grpc::Slice slice;
  const bool whole = buffer.Length() == 0 || buffer.DumpToSingleSlice(&slice).ok();
  if (whole && message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) return absl::OkStatus();
  return core::WithReason(absl::InvalidArgumentError(absl::StrCat("the request is not a ", message->GetTypeName())),
                          "MALFORMED_REQUEST");
}

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace gradwatch::server
