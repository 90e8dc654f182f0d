#include "server/job/job_state.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/error.h"

namespace gradwatch::server {
namespace {

struct Transition {
  v1::JobState from;
  v1::JobState to;
};

constexpr Transition kTransitions[] = {
    {v1::JOB_STATE_UNSPECIFIED, v1::JOB_STATE_PENDING}, {v1::JOB_STATE_PENDING, v1::JOB_STATE_RUNNING},
    {v1::JOB_STATE_PENDING, v1::JOB_STATE_STOPPING},    {v1::JOB_STATE_PENDING, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING},     {v1::JOB_STATE_RUNNING, v1::JOB_STATE_STOPPING},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_RECOVERING},  {v1::JOB_STATE_RUNNING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_RUNNING, v1::JOB_STATE_FAILED},      {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_RUNNING},     {v1::JOB_STATE_PAUSING, v1::JOB_STATE_STOPPING},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_RECOVERING},  {v1::JOB_STATE_PAUSING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_PAUSING, v1::JOB_STATE_FAILED},      {v1::JOB_STATE_PAUSED, v1::JOB_STATE_RUNNING},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_STOPPING},     {v1::JOB_STATE_PAUSED, v1::JOB_STATE_RECOVERING},
    {v1::JOB_STATE_PAUSED, v1::JOB_STATE_FAILED},       {v1::JOB_STATE_STOPPING, v1::JOB_STATE_STOPPED},
    {v1::JOB_STATE_STOPPING, v1::JOB_STATE_SUCCEEDED},  {v1::JOB_STATE_STOPPING, v1::JOB_STATE_FAILED},
    {v1::JOB_STATE_RECOVERING, v1::JOB_STATE_RUNNING},  {v1::JOB_STATE_RECOVERING, v1::JOB_STATE_PAUSED},
    {v1::JOB_STATE_RECOVERING, v1::JOB_STATE_STOPPING}, {v1::JOB_STATE_RECOVERING, v1::JOB_STATE_SUCCEEDED},
    {v1::JOB_STATE_RECOVERING, v1::JOB_STATE_FAILED},
};

constexpr char kHasEnded[] = "it has ended";

absl::StatusOr<v1::JobState> AfterPause(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_RUNNING:
      return v1::JOB_STATE_PAUSING;
    case v1::JOB_STATE_PAUSING:
    case v1::JOB_STATE_PAUSED:
      return state;
    default:
      return StateForbids(state, "pause", IsFinal(state) ? kHasEnded : "only a job whose trainer is attached can wait");
  }
}

absl::StatusOr<v1::JobState> AfterResume(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_PAUSING:
    case v1::JOB_STATE_PAUSED:
      return v1::JOB_STATE_RUNNING;
    case v1::JOB_STATE_PENDING:
    case v1::JOB_STATE_RUNNING:
      return state;
    default:
      return StateForbids(state, "resume", IsFinal(state) ? kHasEnded : "it does not wait");
  }
}

}  // namespace

std::string StateName(v1::JobState state) {
  return std::string(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_"));
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_STOPPED;
}

bool MayFollow(v1::JobState from, v1::JobState to) {
  return std::any_of(std::begin(kTransitions), std::end(kTransitions),
                     [=](const Transition& transition) { return transition.from == from && transition.to == to; });
}

std::vector<v1::JobState> PathBetween(v1::JobState from, v1::JobState to) {
  if (MayFollow(from, to)) return {to};
  for (const v1::JobState between : {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING, v1::JOB_STATE_STOPPING}) {
    if (MayFollow(from, between) && MayFollow(between, to)) return {between, to};
  }
  return {};
}

absl::StatusOr<v1::JobState> StateAfter(JobCommand command, v1::JobState state) {
  switch (command) {
    case JobCommand::kPause:
      return AfterPause(state);
    case JobCommand::kResume:
      return AfterResume(state);
    case JobCommand::kStop:
      return IsFinal(state) ? state : v1::JOB_STATE_STOPPING;
  }
  return absl::InternalError("no such command");
}

absl::Status StateForbids(v1::JobState state, absl::string_view verb, absl::string_view why) {
  return core::WithReason(
      absl::FailedPreconditionError(absl::StrCat("a job in state ", StateName(state), " cannot ", verb, ": ", why)),
      "INVALID_STATE_TRANSITION", {{"state", StateName(state)}});
}

}  // namespace gradwatch::server
