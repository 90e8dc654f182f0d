// What everybody is answered who comes while the server ends.
#ifndef GRADWATCH_SERVER_BASE_SHUTTING_DOWN_H_
#define GRADWATCH_SERVER_BASE_SHUTTING_DOWN_H_

#include "absl/status/status.h"
#include "core/base/error.h"

namespace gradwatch::server {

// UNAVAILABLE, reason SHUTTING_DOWN.
inline absl::Status ShuttingDown() {
  return core::WithReason(absl::UnavailableError("the server is shutting down"), "SHUTTING_DOWN");
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_SHUTTING_DOWN_H_
