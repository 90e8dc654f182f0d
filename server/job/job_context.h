// What the parts of the job manager share: the table, the dependencies, and the way onto the ledger's thread.
#ifndef GRADWATCH_SERVER_JOB_JOB_CONTEXT_H_
#define GRADWATCH_SERVER_JOB_JOB_CONTEXT_H_

#include <atomic>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "server/base/work_tracker.h"
#include "server/job/job_manager.h"
#include "server/job/job_table.h"

namespace gradwatch::server {

struct JobContext {
  const JobManagerDependencies deps;
  const JobManagerOptions options;
  JobTable table;
  const std::shared_ptr<WorkTracker> work = std::make_shared<WorkTracker>();
  std::atomic<bool> started = false;
  std::atomic<bool> draining = false;

  // Runs `operation` on the ledger's thread. `done` gets its result after the commit, or the error of either.
  template <typename T>
  void Submit(absl::AnyInvocable<absl::StatusOr<T>(LedgerTransaction&)> operation,
              absl::AnyInvocable<void(absl::StatusOr<T>)> done) {
    auto token = work->Enter();
    if (token == nullptr) return done(absl::UnavailableError("the server is shutting down"));
    deps.ledger->Submit([token = std::move(token), operation = std::move(operation),
                         done = std::move(done)](LedgerTransaction& transaction) mutable {
      absl::StatusOr<T> result = operation(transaction);
      const absl::Status status = result.status();
      transaction.OnCommit(
          [token, result = std::move(result), done = std::move(done)](const absl::Status& committed) mutable {
            if (committed.ok() || !result.ok()) {
              done(std::move(result));
            } else {
              done(committed);
            }
          });
      return status;
    });
  }

  // The same for an operation without a result; a failure is logged with `what`.
  void SubmitQuietly(const char* what, absl::AnyInvocable<absl::Status(LedgerTransaction&)> operation);
  // Runs `task` after all reports that came before it are stored and published.
  void AfterReports(absl::AnyInvocable<void()> task);
  // Runs `task` on the executor.
  void RunSlowly(absl::AnyInvocable<void()> task);
};

// NOT_FOUND, reason JOB_NOT_FOUND.
absl::Status JobNotFound(absl::string_view job_id);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_CONTEXT_H_
