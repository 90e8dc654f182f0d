#include "client/worker/local_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace gradwatch::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

void RunSteps(int count, absl::Duration each, LocalObserver* observer, testing::FakeClock* clock) {
  for (int i = 0; i < count; ++i) {
    clock->Advance(each);
    observer->OnStep(core::StepRecord());
  }
}

TEST(LocalObserverTest, SpeedLeavesTheFirstTenthOut) {
  testing::FakeClock clock;
  LocalObserver observer(100, false, &clock);
  EXPECT_EQ(observer.StepsPerSecond(), 0);
  RunSteps(10, absl::Seconds(7), &observer, &clock);
  RunSteps(90, absl::Seconds(0.5), &observer, &clock);
  EXPECT_DOUBLE_EQ(observer.StepsPerSecond(), 2);
}

TEST(LocalObserverTest, SpeedOfAShortRun) {
  testing::FakeClock clock;
  LocalObserver few(5, false, &clock);
  RunSteps(5, absl::Seconds(0.25), &few, &clock);
  EXPECT_DOUBLE_EQ(few.StepsPerSecond(), 4);

  LocalObserver stopped_early(1000, false, &clock);
  RunSteps(10, absl::Seconds(0.25), &stopped_early, &clock);
  EXPECT_DOUBLE_EQ(stopped_early.StepsPerSecond(), 4);
}

TEST(LocalObserverTest, CountsEpisodesThatFired) {
  testing::FakeClock clock;
  LocalObserver observer(10, false, &clock);
  for (const v1::AlertState state : {v1::ALERT_STATE_PENDING, v1::ALERT_STATE_FIRING, v1::ALERT_STATE_RESOLVED,
                                     v1::ALERT_STATE_PENDING, v1::ALERT_STATE_FIRING}) {
    v1::Alert alert;
    alert.set_rule("norm_spike");
    alert.set_state(state);
    observer.OnAlert(alert);
  }
  EXPECT_THAT(observer.alerts(), ElementsAre(Pair("norm_spike", 2)));
}

}  // namespace
}  // namespace gradwatch::worker
