#include "core/train/live_controls.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/synchronization/notification.h"

namespace gradwatch::core {
namespace {

ControlSnapshot Snapshot(int64_t revision) { return {revision, v1::Controls()}; }

TEST(LiveControlsTest, HoldsTheInitialControlsUntilOthersAreSet) {
  LiveControls controls(Snapshot(1));
  const auto first = controls.ForStep(0);
  EXPECT_EQ(first->revision, 1);
  EXPECT_EQ(controls.ForStep(1), first) << "the same pointer says that nothing has changed";
  controls.Set(Snapshot(2), std::nullopt);
  EXPECT_EQ(controls.ForStep(2)->revision, 2);
}

TEST(LiveControlsTest, WaitsForTheStepAskedFor) {
  LiveControls controls(Snapshot(1));
  controls.Set(Snapshot(2), 10);
  EXPECT_EQ(controls.ForStep(9)->revision, 1);
  EXPECT_EQ(controls.ForStep(10)->revision, 2);
}

TEST(LiveControlsTest, AStepThatHasPassedMeansTheNext) {
  LiveControls controls(Snapshot(1));
  EXPECT_EQ(controls.ForStep(50)->revision, 1);
  controls.Set(Snapshot(2), 10);
  EXPECT_EQ(controls.ForStep(51)->revision, 2);
}

TEST(LiveControlsTest, OldAndRepeatedRevisionsAreIgnored) {
  LiveControls controls(Snapshot(3));
  controls.Set(Snapshot(2), std::nullopt);
  controls.Set(Snapshot(3), std::nullopt);
  EXPECT_EQ(controls.ForStep(0)->revision, 3);
  controls.Set(Snapshot(5), std::nullopt);
  controls.Set(Snapshot(4), std::nullopt);
  EXPECT_EQ(controls.ForStep(1)->revision, 5);
}

TEST(LiveControlsTest, ScheduledChangesHoldOneAfterTheOther) {
  LiveControls controls(Snapshot(1));
  controls.Set(Snapshot(2), 10);
  controls.Set(Snapshot(3), 20);
  EXPECT_EQ(controls.ForStep(15)->revision, 2);
  EXPECT_EQ(controls.ForStep(20)->revision, 3);
}

TEST(LiveControlsTest, WhatIsDueReplacesEverythingOlder) {
  LiveControls controls(Snapshot(1));
  controls.Set(Snapshot(2), 100);
  controls.Set(Snapshot(3), std::nullopt);
  EXPECT_EQ(controls.ForStep(5)->revision, 3);
  EXPECT_EQ(controls.ForStep(100)->revision, 3) << "revision 2 was built before 3 and must not come back";
}

TEST(LiveControlsTest, AStopIsFinal) {
  LiveControls controls(Snapshot(1));
  controls.SetCommand(LiveControls::Command::kStop);
  controls.SetCommand(LiveControls::Command::kRun);
  EXPECT_EQ(controls.command(), LiveControls::Command::kStop);
  EXPECT_EQ(controls.AwaitRun(), LiveControls::Command::kStop);
}

TEST(LiveControlsTest, APauseHoldsTheTrainingThreadUntilItIsOver) {
  LiveControls controls(Snapshot(1));
  controls.SetCommand(LiveControls::Command::kPause);
  absl::Notification waiting;
  LiveControls::Command seen = LiveControls::Command::kPause;
  std::thread training([&] {
    waiting.Notify();
    seen = controls.AwaitRun();
  });
  waiting.WaitForNotification();
  controls.SetCommand(LiveControls::Command::kRun);
  training.join();
  EXPECT_EQ(seen, LiveControls::Command::kRun);
}

// Under the thread sanitizer this shows that the hand-over has no race.
TEST(LiveControlsTest, ControlsMayBeSetWhileStepsRun) {
  LiveControls controls(Snapshot(1));
  constexpr int64_t kLast = 2000;
  std::thread operators([&] {
    for (int64_t revision = 2; revision <= kLast; ++revision) controls.Set(Snapshot(revision), std::nullopt);
  });
  int64_t seen = 1;
  for (int64_t step = 0; seen < kLast; ++step) {
    const int64_t revision = controls.ForStep(step)->revision;
    EXPECT_GE(revision, seen);
    seen = revision;
  }
  operators.join();
}

}  // namespace
}  // namespace gradwatch::core
