// What became of an edit of a job's controls, as its log tells it: shared by `clip set`, `clip unset`, `adjust`, `rules
// apply`, `clip cancel` and `clip get`.
#ifndef GRADWATCH_CLIENT_CLI_EDIT_ANSWER_H_
#define GRADWATCH_CLIENT_CLI_EDIT_ANSWER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/cli/session.h"
#include "gradwatch/v1/event.pb.h"

namespace gradwatch::cli {

// How long it is waited for unless --timeout says otherwise.
inline constexpr absl::Duration kAnswerTime = absl::Seconds(60);

// What became of an edit.
struct EditAnswer {
  v1::Event event;        // adjusted or adjust_dropped
  bool in_pause = false;  // it was applied while the job was paused
};

// Reads the events that come after `job` was read up to the one that tells what became of the edit. DEADLINE_EXCEEDED:
// none did by `deadline`; FAILED_PRECONDITION: the job's log has ended without one.
absl::StatusOr<EditAnswer> AwaitAnswer(const v1::Job& job, int64_t edit, absl::Time deadline, const Session& session);

// The same of an edit that was settled before `job` was read. Nothing: there is no such event.
absl::StatusOr<std::optional<EditAnswer>> FindAnswer(const v1::Job& job, int64_t edit, absl::Time deadline,
                                                     const Session& session);

// What a job must do before an edit of it can be applied, besides ending its step: "has not started yet; waiting until
// it does"; empty: nothing.
std::string WaitText(const v1::Job& job, bool is_for_later);
// "edit 7".
std::string EditName(int64_t edit);
// "holds from step 12, the first after the pause (revision 2)".
std::string HoldsText(const EditAnswer& applied);
// How to see what became of an edit: "gradwatch clip get JOB --edit 7".
std::string LookUpCommand(const std::string& job_id, int64_t edit);
// How to withdraw an edit: "gradwatch clip cancel JOB 7".
std::string CancelCommand(const std::string& job_id, int64_t edit);
// What an edit that was applied did, for programs: job, attempt, edit, state, revision, old, new, effective_step,
// event.
JsonObject AppliedJson(const std::string& job_id, const v1::Event& adjusted);
// FAILED_PRECONDITION with the DroppedText of the event.
absl::Status NeverHeld(const v1::Event& dropped);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_EDIT_ANSWER_H_
