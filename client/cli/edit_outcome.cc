#include "client/cli/edit_outcome.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

bool Tells(const v1::Event& event, int64_t edit) {
  if (event.has_adjusted()) return event.adjusted().adjustment().edit() == edit;
  return event.has_adjust_dropped() && event.adjust_dropped().adjustment().edit() == edit;
}

}  // namespace

absl::StatusOr<EditOutcome> AwaitOutcome(const v1::Job& job, int64_t edit, absl::Time deadline,
                                         const Session& session) {
  v1::WatchJobRequest request;
  request.set_job_id(job.job_id());
  request.set_after_event(job.last_event());
  request.set_events_only(true);
  client::ResumeOptions options;
  options.deadline = deadline;
  auto stream = client::WatchJob(session.connection(), request, options);
  v1::JobState state = job.state();
  while (true) {
    const auto response = stream->Next();
    if (!response.ok()) return response.status();
    if (!response->has_value()) {
      return absl::FailedPreconditionError(absl::StrCat("the log of the job ended without a word of ", EditName(edit)));
    }
    for (const v1::Event& event : (*response)->events()) {
      if (event.has_state_changed()) state = event.state_changed().to();
      if (Tells(event, edit)) return EditOutcome{event, event.has_adjusted() && state == v1::JOB_STATE_PAUSED};
    }
  }
}

std::string WaitText(const v1::Job& job, bool is_for_later) {
  switch (job.state()) {
    case v1::JOB_STATE_PENDING:
      return "has not started yet; waiting until it does";
    case v1::JOB_STATE_RECOVERING:
      return "has lost its trainer; waiting until it is back";
    case v1::JOB_STATE_PAUSED:
    case v1::JOB_STATE_PAUSING:
      return is_for_later ? "is paused; waiting until it goes on" : "";
    default:
      return "";
  }
}

std::string EditName(int64_t edit) { return absl::StrCat("edit ", edit); }

std::string HoldsText(const EditOutcome& applied) {
  const v1::Adjustment& adjustment = applied.event.adjusted().adjustment();
  return absl::StrCat("holds from step ", adjustment.effective_step(),
                      applied.in_pause ? ", the first after the pause" : "", " (revision ", adjustment.revision(), ")");
}

std::string CancelCommand(const std::string& job_id, int64_t edit) {
  return absl::StrCat("gradwatch clip cancel ", ShellQuoted(job_id), " ", edit);
}

absl::Status NeverHeld(const v1::AdjustDropped& dropped) {
  return absl::FailedPreconditionError(
      absl::StrCat(EditName(dropped.adjustment().edit()),
                   dropped.may_have_held() ? " may have held or not: " : " never held: ", dropped.reason()));
}

}  // namespace gradwatch::cli
