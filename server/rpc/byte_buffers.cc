#include "server/rpc/byte_buffers.h"

#include <grpcpp/support/slice.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"

namespace gradwatch::server {
namespace {

constexpr size_t kWorthSharing = 4096;

grpc::Slice Share(const SharedBytes& bytes) {
  auto* const reference = new SharedBytes(bytes);
  return grpc::Slice(
      const_cast<char*>(bytes->data()), bytes->size(), [](void* held) { delete static_cast<SharedBytes*>(held); },
      reference);
}

}  // namespace

absl::Status Parse(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message) {
  grpc::Slice slice;
  const bool whole = buffer.Length() == 0 || buffer.DumpToSingleSlice(&slice).ok();
  if (whole && message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) return absl::OkStatus();
  return core::WithReason(absl::InvalidArgumentError(absl::StrCat("the request is not a ", message->GetTypeName())),
                          "MALFORMED_REQUEST");
}

grpc::ByteBuffer ToBuffer(const EncodedMessage& message) {
  std::vector<grpc::Slice> slices;
  std::string small;
  const auto flush = [&] {
    if (!small.empty()) slices.emplace_back(std::exchange(small, {}));
  };
  for (const SharedBytes& part : message.parts) {
    if (part->size() < kWorthSharing) {
      small += *part;
      continue;
    }
    flush();
    slices.push_back(Share(part));
  }
  flush();
  if (slices.empty()) slices.emplace_back();
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace gradwatch::server
