// From the status of a call to absl::Status, with the details that a server tells: which fields are wrong, and why.
#ifndef GRADWATCH_CLIENT_LIB_GRPC_STATUS_H_
#define GRADWATCH_CLIENT_LIB_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/rpc/error.pb.h"

namespace gradwatch::client {

// Code and message of `status`; each google.rpc detail becomes a payload under its type URL
// ("type.googleapis.com/google.rpc.BadRequest"). Details that cannot be read are left out.
absl::Status ToAbslStatus(const grpc::Status& status);

// The wrong fields that a status tells; empty if none.
std::vector<google::rpc::BadRequest::FieldViolation> GetFieldViolations(const absl::Status& status);

// The stable reason word that a status tells ("ETAG_MISMATCH"); empty if none.
std::string GetReason(const absl::Status& status);

// The fact `key` that a status tells, for example "etag"; empty if none.
std::string GetErrorMetadata(const absl::Status& status, absl::string_view key);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_GRPC_STATUS_H_
