#include "server/job/job_state.h"

#include <gmock/gmock.h>

#include <set>
#include <utility>

#include "core/base/error.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<v1::JobState> AllStates() {
  std::vector<v1::JobState> states;
  for (int i = v1::JobState_MIN; i <= v1::JobState_MAX; ++i) states.push_back(static_cast<v1::JobState>(i));
  return states;
}

// The lines "Next: ..." of JobState's comments.
std::set<v1::JobState> Documented(v1::JobState from) {
  switch (from) {
    case v1::JOB_STATE_UNSPECIFIED:
      return {v1::JOB_STATE_PENDING};
    case v1::JOB_STATE_PENDING:
      return {v1::JOB_STATE_RUNNING, v1::JOB_STATE_STOPPING, v1::JOB_STATE_FAILED};
    case v1::JOB_STATE_RUNNING:
      return {v1::JOB_STATE_PAUSING, v1::JOB_STATE_STOPPING, v1::JOB_STATE_RECOVERING, v1::JOB_STATE_SUCCEEDED,
              v1::JOB_STATE_FAILED};
    case v1::JOB_STATE_PAUSING:
      return {v1::JOB_STATE_PAUSED,     v1::JOB_STATE_RUNNING,   v1::JOB_STATE_STOPPING,
              v1::JOB_STATE_RECOVERING, v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED};
    case v1::JOB_STATE_PAUSED:
      return {v1::JOB_STATE_RUNNING, v1::JOB_STATE_STOPPING, v1::JOB_STATE_RECOVERING, v1::JOB_STATE_FAILED};
    case v1::JOB_STATE_STOPPING:
      return {v1::JOB_STATE_STOPPED, v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED};
    case v1::JOB_STATE_RECOVERING:
      return {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED, v1::JOB_STATE_STOPPING, v1::JOB_STATE_SUCCEEDED,
              v1::JOB_STATE_FAILED};
    default:
      return {};
  }
}

TEST(JobState, EveryPairIsAsDocumented) {
  for (const v1::JobState from : AllStates()) {
    for (const v1::JobState to : AllStates()) {
      EXPECT_EQ(MayFollow(from, to), Documented(from).count(to) == 1) << StateName(from) << " -> " << StateName(to);
    }
  }
}

TEST(JobState, EveryStepOfAPathIsAllowedAndTheLastIsTheGoal) {
  for (const v1::JobState from : AllStates()) {
    for (const v1::JobState to : AllStates()) {
      v1::JobState at = from;
      for (const v1::JobState next : PathBetween(from, to)) {
        EXPECT_TRUE(MayFollow(at, next)) << StateName(at) << " -> " << StateName(next);
        at = next;
      }
      const bool reachable = !PathBetween(from, to).empty();
      EXPECT_EQ(at, reachable ? to : from);
    }
  }
}

// Every cell of the table of ways, the states in the order of their numbers: "R" is by way of RUNNING, "P" of PAUSING,
// "S" of STOPPING, "+" directly, "." not at all.
TEST(JobState, EveryWayIsTheOneThatIsMeant) {
  const std::pair<v1::JobState, const char*> rows[] = {
      {v1::JOB_STATE_UNSPECIFIED, ".+........"}, {v1::JOB_STATE_PENDING, "..+R.+RR+S"},
      {v1::JOB_STATE_RUNNING, "..P+P++++S"},     {v1::JOB_STATE_PAUSING, "..+R+++++S"},
      {v1::JOB_STATE_PAUSED, "..+R.++R+S"},      {v1::JOB_STATE_STOPPING, ".......+++"},
      {v1::JOB_STATE_RECOVERING, "..+R++R++S"},  {v1::JOB_STATE_SUCCEEDED, ".........."},
      {v1::JOB_STATE_FAILED, ".........."},      {v1::JOB_STATE_STOPPED, ".........."},
  };
  for (const auto& [from, row] : rows) {
    std::string ways;
    for (const v1::JobState to : AllStates()) {
      const std::vector<v1::JobState> path = PathBetween(from, to);
      ways += path.empty()                            ? '.'
              : path.size() == 1                      ? '+'
              : path.front() == v1::JOB_STATE_RUNNING ? 'R'
              : path.front() == v1::JOB_STATE_PAUSING ? 'P'
                                                      : 'S';
    }
    EXPECT_EQ(ways, row) << StateName(from);
  }
}

TEST(JobState, PathsGoByTheStateThatSaysWhatHappens) {
  EXPECT_THAT(PathBetween(v1::JOB_STATE_PENDING, v1::JOB_STATE_STOPPED),
              ElementsAre(v1::JOB_STATE_STOPPING, v1::JOB_STATE_STOPPED));
  EXPECT_THAT(PathBetween(v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED),
              ElementsAre(v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED));
  EXPECT_THAT(PathBetween(v1::JOB_STATE_RECOVERING, v1::JOB_STATE_PAUSING),
              ElementsAre(v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING));
  EXPECT_THAT(PathBetween(v1::JOB_STATE_PAUSED, v1::JOB_STATE_SUCCEEDED),
              ElementsAre(v1::JOB_STATE_RUNNING, v1::JOB_STATE_SUCCEEDED));
}

TEST(JobState, NothingComesAfterAFinalState) {
  for (const v1::JobState from : AllStates()) {
    if (!IsFinal(from)) continue;
    for (const v1::JobState to : AllStates()) EXPECT_THAT(PathBetween(from, to), IsEmpty());
  }
}

TEST(JobState, EveryStateThatHasNotEndedCanFailAndStop) {
  for (const v1::JobState from : AllStates()) {
    if (from == v1::JOB_STATE_UNSPECIFIED || IsFinal(from)) continue;
    EXPECT_FALSE(PathBetween(from, v1::JOB_STATE_FAILED).empty()) << StateName(from);
    EXPECT_FALSE(PathBetween(from, v1::JOB_STATE_STOPPED).empty()) << StateName(from);
  }
}

constexpr v1::JobState kRefused = v1::JOB_STATE_UNSPECIFIED;

TEST(JobState, OfAJobThatHasEndedNothingElseIsSaid) {
  for (const v1::JobState state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_STOPPED}) {
    for (const JobCommand command : {JobCommand::kPause, JobCommand::kResume}) {
      EXPECT_THAT(StateAfter(command, state),
                  StatusIs(absl::StatusCode::kFailedPrecondition, EndsWith("it has ended")));
    }
  }
  EXPECT_THAT(StateAfter(JobCommand::kPause, v1::JOB_STATE_PENDING).status().message(),
              HasSubstr("trainer is attached"));
}

TEST(JobState, CommandsInEveryState) {
  const struct {
    v1::JobState state, pause, resume, stop;
  } cases[] = {
      {v1::JOB_STATE_PENDING, kRefused, v1::JOB_STATE_PENDING, v1::JOB_STATE_STOPPING},
      {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_STOPPING},
      {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_STOPPING},
      {v1::JOB_STATE_PAUSED, v1::JOB_STATE_PAUSED, v1::JOB_STATE_RUNNING, v1::JOB_STATE_STOPPING},
      {v1::JOB_STATE_STOPPING, kRefused, kRefused, v1::JOB_STATE_STOPPING},
      {v1::JOB_STATE_RECOVERING, kRefused, kRefused, v1::JOB_STATE_STOPPING},
      {v1::JOB_STATE_SUCCEEDED, kRefused, kRefused, v1::JOB_STATE_SUCCEEDED},
      {v1::JOB_STATE_FAILED, kRefused, kRefused, v1::JOB_STATE_FAILED},
      {v1::JOB_STATE_STOPPED, kRefused, kRefused, v1::JOB_STATE_STOPPED},
  };
  for (const auto& c : cases) {
    const std::pair<JobCommand, v1::JobState> expected[] = {
        {JobCommand::kPause, c.pause}, {JobCommand::kResume, c.resume}, {JobCommand::kStop, c.stop}};
    for (const auto& [command, next] : expected) {
      const auto result = StateAfter(command, c.state);
      if (next == kRefused) {
        EXPECT_THAT(result, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(StateName(c.state))));
        EXPECT_EQ(core::GetReason(result.status()), "INVALID_STATE_TRANSITION");
      } else {
        ASSERT_TRUE(result.ok()) << StateName(c.state) << ": " << result.status();
        EXPECT_EQ(*result, next) << StateName(c.state);
        EXPECT_TRUE(next == c.state || MayFollow(c.state, next));
      }
    }
  }
}

}  // namespace
}  // namespace gradwatch::server
