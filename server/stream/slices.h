// Bytes that messages share by reference.
#ifndef GRADWATCH_SERVER_STREAM_SLICES_H_
#define GRADWATCH_SERVER_STREAM_SLICES_H_

#include <grpcpp/support/slice.h>

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// A slice that owns `bytes`, without a copy.
inline grpc::Slice SliceOf(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  return grpc::Slice(
      owned->data(), owned->size(), [](void* text) { delete static_cast<std::string*>(text); }, owned);
}

inline absl::string_view ViewOf(const grpc::Slice& slice) {
  return absl::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_SLICES_H_
