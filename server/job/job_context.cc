#include "server/job/job_context.h"

#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"

namespace gradwatch::server {

void JobContext::SubmitQuietly(const char* what, absl::AnyInvocable<absl::Status(LedgerTransaction&)> operation) {
  struct Nothing {};
  Submit<Nothing>(
      [operation = std::move(operation)](LedgerTransaction& transaction) mutable -> absl::StatusOr<Nothing> {
        const absl::Status status = operation(transaction);
        if (!status.ok()) return status;
        return Nothing();
      },
      [what](absl::StatusOr<Nothing> result) {
        if (!result.ok()) spdlog::error("{}: {}", what, result.status().ToString());
      });
}

void JobContext::AfterReports(absl::AnyInvocable<void()> task) {
  auto token = work->Enter();
  if (token == nullptr) return;
  deps.statistics->Barrier([token = std::move(token), task = std::move(task)]() mutable { task(); });
}

void JobContext::RunSlowly(absl::AnyInvocable<void()> task) {
  auto token = work->Enter();
  if (token == nullptr) return;
  deps.executor->Run([token = std::move(token), task = std::move(task)]() mutable { task(); });
}

absl::Status JobNotFound(absl::string_view job_id) {
  return core::WithReason(absl::NotFoundError(absl::StrCat("there is no job \"", job_id, "\"")), "JOB_NOT_FOUND",
                          {{"job_id", std::string(job_id)}});
}

}  // namespace gradwatch::server
