#include "server/base/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <new>
#include <string>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"

namespace gradwatch::server {
namespace {

TEST(ThreadPoolTest, RunsOnItsNamedThreads) {
  ThreadPool pool("validate", 1);
  char name[16] = {};
  absl::Notification done;
  pool.Run([&] {
    pthread_getname_np(pthread_self(), name, sizeof(name));
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_EQ(std::string(name), "validate-0");
}

TEST(ThreadPoolTest, RunsAsManyAtOnceAsItHasThreads) {
  ThreadPool pool("pool", 3);
  absl::Notification done;
  auto* const barrier = new absl::Barrier(3);  // passed only if all three run at once
  for (int i = 0; i < 3; ++i) {
    pool.Run([&] {
      if (!barrier->Block()) return;
      delete barrier;
      done.Notify();
    });
  }
  done.WaitForNotification();
}

TEST(ThreadPoolTest, RunsWhatIsQueuedBeforeItEnds) {
  std::atomic<int> runs = 0;
  {
    ThreadPool pool("pool", 2);
    for (int i = 0; i < 100; ++i) {
      pool.Run([&] { pool.Run([&] { ++runs; }); });
    }
  }
  EXPECT_EQ(runs, 100);
}

// It ended the process.
TEST(ThreadPoolTest, ATaskThatThrowsIsItsOwnTrouble) {
  absl::Notification ran;
  ThreadPool pool("pool", 1);
  pool.Run([] { throw std::bad_alloc(); });
  pool.Run([&] { ran.Notify(); });
  ran.WaitForNotification();
}

}  // namespace
}  // namespace gradwatch::server
