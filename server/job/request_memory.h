// Answers a request that comes again under the same request id as it was answered before, without doing it again.
#ifndef GRADWATCH_SERVER_JOB_REQUEST_MEMORY_H_
#define GRADWATCH_SERVER_JOB_REQUEST_MEMORY_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/ledger.h"

namespace gradwatch::server {

// By what a request is known; an empty id: not protected against repetition.
struct RequestKey {
  std::string id;
  std::string digest;  // of the call's name and all other fields
};

RequestKey MakeRequestKey(absl::string_view call, absl::string_view request_id,
                          const google::protobuf::Message& request_without_id);

template <typename Request>
RequestKey KeyOf(absl::string_view call, Request request) {
  const std::string id = request.request_id();
  request.clear_request_id();
  return MakeRequestKey(call, id, request);
}

// INVALID_ARGUMENT unless the id is empty or a UUID.
absl::Status CheckRequestId(absl::string_view request_id);

// True if the request was answered before; `response` is then that answer. INVALID_ARGUMENT (reason REQUEST_ID_REUSED):
// the id belongs to another request.
absl::StatusOr<bool> Recall(LedgerTransaction& transaction, const RequestKey& key, google::protobuf::Message* response);
// Keeps the answer, for the job `uid`.
absl::Status Remember(LedgerTransaction& transaction, const RequestKey& key, absl::string_view uid,
                      const google::protobuf::Message& response);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_REQUEST_MEMORY_H_
