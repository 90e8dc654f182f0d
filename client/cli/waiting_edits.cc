#include "client/cli/waiting_edits.h"

#include <algorithm>
#include <utility>

#include "client/cli/pages.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxEdits = 10'000;  // more never wait

bool SetsMode(const v1::Adjustment& edit) {
  return std::any_of(edit.paths().begin(), edit.paths().end(),
                     [](const std::string& path) { return path == "clip" || path == "clip.mode"; });
}

}  // namespace

absl::StatusOr<Edits> ReadWaitingEdits(const std::string& job_id, const Session& session) {
  v1::ListEditsRequest request;
  request.set_job_id(job_id);
  absl::StatusOr<v1::ListEditsResponse> all =
      ReadPages(session, session.connection().jobs(), &v1::JobService::StubInterface::ListEdits,
                &v1::ListEditsResponse::mutable_edits, request, kMaxEdits);
  if (!all.ok()) return all.status();
  return std::move(*all->mutable_edits());
}

v1::ClipMode ModeUpTo(int64_t step, v1::ClipMode in_force, const Edits& waiting) {
  v1::ClipMode mode = in_force;
  for (const v1::Adjustment& edit : waiting) {
    const bool is_due = !edit.has_at_step() || edit.at_step() <= step;
    if (is_due && edit.withdrawn_by().empty() && SetsMode(edit)) mode = edit.values().clip().mode();
  }
  return mode;
}

absl::StatusOr<v1::ClipMode> ReadModeUpTo(absl::optional<int64_t> at_step, const v1::Job& job, const Session& session) {
  if (job.waiting_edits() == 0) return job.controls().clip().mode();
  const absl::StatusOr<Edits> waiting = ReadWaitingEdits(job.job_id(), session);
  if (!waiting.ok()) return waiting.status();
  // After the list: what was applied in between is in one of them or in both, never in none.
  const absl::StatusOr<v1::Job> after = session.GetJob(job.job_id());
  if (!after.ok()) return after.status();
  return ModeUpTo(at_step.value_or(after->steps_done()), after->controls().clip().mode(), *waiting);
}

}  // namespace gradwatch::cli
