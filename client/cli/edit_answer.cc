#include "client/cli/edit_answer.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/event_text.h"
#include "client/cli/text.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

bool Tells(const v1::Event& event, int64_t edit) {
  if (event.has_adjusted()) return event.adjusted().adjustment().edit() == edit;
  return event.has_adjust_dropped() && event.adjust_dropped().adjustment().edit() == edit;
}

// Events of a job, in their order.
struct Events {
  std::string job_id;
  int64_t after = 0;            // these are not read
  int64_t last = 0;             // nor any after this one
  v1::JobState state_before{};  // of the job, before the first of them
};

// The first of them that tells what became of the edit, if one does.
absl::StatusOr<std::optional<EditAnswer>> Read(const Events& events, int64_t edit, absl::Time deadline,
                                               const Session& session) {
  v1::WatchJobRequest request;
  request.set_job_id(events.job_id);
  request.set_after_event(events.after);
  request.set_events_only(true);
  client::ResumeOptions options;
  options.deadline = deadline;
  auto stream = client::WatchJob(session.connection(), request, options);
  v1::JobState state = events.state_before;
  for (int64_t number = events.after; number < events.last;) {
    const auto response = stream->Next();
    if (!response.ok()) return response.status();
    if (!response->has_value()) break;
    for (const v1::Event& event : (*response)->events()) {
      number = event.number();
      if (event.has_state_changed()) state = event.state_changed().to();
      if (Tells(event, edit)) return EditAnswer{event, event.has_adjusted() && state == v1::JOB_STATE_PAUSED};
    }
    if ((*response)->ended().reason() == v1::WatchEnded::REASON_DELETED) {
      return absl::NotFoundError(absl::StrCat("job ", events.job_id, " was deleted"));
    }
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<EditAnswer> AwaitAnswer(const v1::Job& job, int64_t edit, absl::Time deadline, const Session& session) {
  const Events events = {.job_id = job.job_id(),
                         .after = job.last_event(),
                         .last = std::numeric_limits<int64_t>::max(),
                         .state_before = job.state()};
  absl::StatusOr<std::optional<EditAnswer>> answer = Read(events, edit, deadline, session);
  if (!answer.ok()) return answer.status();
  if (answer->has_value()) return **std::move(answer);
  return absl::FailedPreconditionError(absl::StrCat("the log of the job ended without a word of ", EditName(edit)));
}

absl::StatusOr<std::optional<EditAnswer>> FindAnswer(const v1::Job& job, int64_t edit, absl::Time deadline,
                                                     const Session& session) {
  return Read({.job_id = job.job_id(), .last = job.last_event()}, edit, deadline, session);
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

std::string HoldsText(const EditAnswer& applied) {
  const v1::Adjustment& adjustment = applied.event.adjusted().adjustment();
  return absl::StrCat("holds from step ", adjustment.effective_step(),
                      applied.in_pause ? ", the first after the pause" : "", " (revision ", adjustment.revision(), ")");
}

std::string LookUpCommand(const std::string& job_id, int64_t edit) {
  return absl::StrCat("gradwatch clip get ", ShellQuoted(job_id), " --edit ", edit);
}

std::string CancelCommand(const std::string& job_id, int64_t edit) {
  return absl::StrCat("gradwatch clip cancel ", ShellQuoted(job_id), " ", edit);
}

JsonObject AppliedJson(const std::string& job_id, const v1::Event& adjusted) {
  const v1::Adjustment& adjustment = adjusted.adjusted().adjustment();
  JsonObject object;
  object.Add("job", job_id).Add("attempt", adjusted.attempt()).Add("edit", adjustment.edit());
  object.Add("state", "applied").Add("revision", adjustment.revision());
  object.Add("old", JsonObject().AddFields(adjustment.old_controls()));
  object.Add("new", JsonObject().AddFields(adjustment.new_controls()));
  return object.Add("effective_step", adjustment.effective_step()).Add("event", adjusted.number());
}

absl::Status NeverHeld(const v1::Event& dropped) { return absl::FailedPreconditionError(DroppedText(dropped)); }

}  // namespace gradwatch::cli
