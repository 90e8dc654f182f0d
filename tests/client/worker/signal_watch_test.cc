#include "client/worker/signal_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"

namespace gradwatch::worker {
namespace {

// Before any test starts a thread, so that the signal is blocked in all of them.
const sigset_t kSignals = BlockSignals({SIGUSR1});

TEST(SignalWatchTest, ASignalBecomesACall) {
  absl::Notification called;
  SignalWatch watch(kSignals, [&called] { called.Notify(); });
  kill(getpid(), SIGUSR1);
  EXPECT_TRUE(called.WaitForNotificationWithTimeout(absl::Minutes(1)));
}

TEST(SignalWatchTest, EndsWithoutASignal) {
  SignalWatch watch(kSignals, [] { FAIL(); });
}

}  // namespace
}  // namespace gradwatch::worker
