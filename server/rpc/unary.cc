#include "server/rpc/unary.h"

#include "absl/strings/str_cat.h"
#include "core/base/error.h"

namespace gradwatch::server {

absl::Status NotServedStatus(const char* name) {
  return core::WithReason(absl::UnimplementedError(absl::StrCat(name, " is not served yet")), "FEATURE_DISABLED");
}

grpc::ServerUnaryReactor* NotServed(grpc::CallbackServerContext* call, const char* name) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  reactor->Finish(ToGrpcStatus(NotServedStatus(name)));
  return reactor;
}

}  // namespace gradwatch::server
