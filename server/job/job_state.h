// The life of a job as a pure table: which states follow which, and what a user's command does in each.
#ifndef GRADWATCH_SERVER_JOB_JOB_STATE_H_
#define GRADWATCH_SERVER_JOB_JOB_STATE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::server {

// "RUNNING".
std::string StateName(v1::JobState state);

// SUCCEEDED, FAILED, STOPPED: nothing comes after.
bool IsFinal(v1::JobState state);

// Whether `to` may directly follow `from`, as the comments of JobState say.
bool MayFollow(v1::JobState from, v1::JobState to);

// The states to pass on the way from one state to another, `to` last: itself alone if it may follow directly, else by
// one state between (a running job that stops passes STOPPING). Empty: there is no such way.
std::vector<v1::JobState> PathBetween(v1::JobState from, v1::JobState to);

// What a user may ask of a job that is there.
enum class JobCommand { kPause, kResume, kStop };

// The state that a job goes to when a command comes in `state`; `state` itself if nothing is to be done.
// FAILED_PRECONDITION (reason INVALID_STATE_TRANSITION): the command makes no sense in this state.
absl::StatusOr<v1::JobState> StateAfter(JobCommand command, v1::JobState state);

// FAILED_PRECONDITION (reason INVALID_STATE_TRANSITION) saying that a job in `state` cannot `verb`.
absl::Status StateForbids(v1::JobState state, absl::string_view verb, absl::string_view why);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_STATE_H_
