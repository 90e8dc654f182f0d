// What the parts of the job manager share: the tables, the dependencies, and the one way to change anything: on the
// ledger's thread, once for each request.
#ifndef GRADWATCH_SERVER_JOB_JOB_CONTEXT_H_
#define GRADWATCH_SERVER_JOB_JOB_CONTEXT_H_

#include <google/protobuf/message.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "core/base/status_macros.h"
#include "server/base/shutting_down.h"
#include "server/base/work_tracker.h"
#include "server/job/job_manager.h"
#include "server/job/job_table.h"

namespace gradwatch::server {

// By what a request is known that may come twice; an empty id: it is not protected against repetition.
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
// Keeps the answer for a day, whatever becomes of any job.
absl::Status Remember(LedgerTransaction& transaction, const RequestKey& key, const google::protobuf::Message& response);

struct JobContext {
  const JobManagerDependencies deps;
  const JobManagerOptions options;
  JobTable table;
  SilenceTable silences;
  const std::shared_ptr<WorkTracker> work = std::make_shared<WorkTracker>();
  std::atomic<bool> started = false;
  std::atomic<bool> draining = false;

  // Runs `operation` on the ledger's thread. `done` gets its result after the commit, or the error of either: that of
  // the commit, if both failed, since what the operation saw may be what another one of the commit had left.
  template <typename T>
  void Submit(absl::AnyInvocable<absl::StatusOr<T>(LedgerTransaction&)> operation,
              absl::AnyInvocable<void(absl::StatusOr<T>)> done) {
    auto token = work->Enter();
    if (token == nullptr) return done(ShuttingDown());
    deps.ledger->Submit([token = std::move(token), operation = std::move(operation),
                         done = std::move(done)](LedgerTransaction& transaction) mutable {
      absl::StatusOr<T> result = operation(transaction);
      const absl::Status status = result.status();
      transaction.OnCommit(
          [token, result = std::move(result), done = std::move(done)](const absl::Status& committed) mutable {
            committed.ok() ? done(std::move(result)) : done(committed);
          });
      return status;
    });
  }

  // The same for a request that may come twice: if it was answered before, it is answered as it was, before anything of
  // it is looked at, whatever has changed meanwhile. `operation` calls Remember before it publishes.
  template <typename T>
  void SubmitOnce(RequestKey key,
                  absl::AnyInvocable<absl::StatusOr<T>(const RequestKey&, LedgerTransaction&)> operation,
                  absl::AnyInvocable<void(absl::StatusOr<T>)> done) {
    if (const absl::Status status = CheckRequestId(key.id); !status.ok()) return done(status);
    Submit<T>(
        [key = std::move(key),
         operation = std::move(operation)](LedgerTransaction& transaction) mutable -> absl::StatusOr<T> {
          T answered;
          GW_ASSIGN_OR_RETURN(const bool known, Recall(transaction, key, &answered));
          if (known) return answered;
          return operation(key, transaction);
        },
        std::move(done));
  }

  // An operation without a result; a failure is logged with `what`.
  void SubmitQuietly(const char* what, absl::AnyInvocable<absl::Status(LedgerTransaction&)> operation);
  // Stores reports and lost ranges of a job as StatisticsStore::Append does. False: the server goes down, and nothing
  // happens.
  bool AppendReports(const std::shared_ptr<JobEntry>& entry, std::vector<EncodedReport> reports,
                     StatisticsStore::AppendDone done);
  // Runs `task` when what AppendReports was given of this job so far is stored and published, or has failed; at once if
  // that is so now. Other jobs are not waited for. Not under a lock of the job's.
  void AfterReports(const std::shared_ptr<JobEntry>& entry, absl::AnyInvocable<void()> task);
  void RunOnExecutor(absl::AnyInvocable<void()> task);
  // From now on as much is kept of the job's statistics as its spec says, and the server's own where that says nothing.
  void KeepWithinBudget(const v1::Job& job) const;
};

// NOT_FOUND, reason JOB_NOT_FOUND.
absl::Status JobNotFound(absl::string_view job_id);
// OK for an empty `etag` or that of the job. ABORTED, reason ETAG_MISMATCH.
absl::Status CheckEtag(absl::string_view etag, const v1::Job& job);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_CONTEXT_H_
