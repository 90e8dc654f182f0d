#include "server/base/work_tracker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"

namespace gradwatch::server {
namespace {

TEST(WorkTracker, CloseWaitsForThoseWhoAreIn) {
  const auto tracker = std::make_shared<WorkTracker>();
  WorkTracker::Token token = tracker->Enter();
  ASSERT_NE(token, nullptr);
  std::atomic<bool> left = false;
  absl::Notification begun;
  std::thread closer([&] {
    begun.Notify();
    tracker->Close();
    EXPECT_TRUE(left);
  });
  begun.WaitForNotification();
  WorkTracker::Token copy = token;
  token.reset();
  left = true;
  copy.reset();
  closer.join();
}

TEST(WorkTracker, NobodyComesInAfterClose) {
  const auto tracker = std::make_shared<WorkTracker>();
  tracker->Close();
  EXPECT_EQ(tracker->Enter(), nullptr);
}

}  // namespace
}  // namespace gradwatch::server
