#include "client/worker/event_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace gradwatch::worker {
namespace {

TEST(EventQueueTest, NextEndsWhenTimeIsUp) {
  EventQueue events;
  EXPECT_FALSE(events.Next(absl::ZeroDuration()).has_value());
  EXPECT_FALSE(events.Next(absl::Milliseconds(1)).has_value());
}

TEST(EventQueueTest, WakeEndsTheNextNext) {
  EventQueue events;
  events.Wake();
  events.Wake();  // together with the one before
  EXPECT_FALSE(events.Next(absl::Hours(1)).has_value());
}

TEST(EventQueueTest, NoWakeIsLost) {
  constexpr int kRounds = 2000;
  EventQueue events;
  std::atomic<int> asked{0}, seen{0};
  std::thread waker([&] {
    for (int round = 1; round <= kRounds; ++round) {
      asked.store(round);
      events.Wake();
      while (seen.load() < round) std::this_thread::yield();
    }
  });
  while (seen.load() < kRounds) {
    events.Next(absl::Hours(1));
    seen.store(asked.load());
  }
  waker.join();
}

TEST(EventQueueTest, OperationsComeWithTheirTags) {
  EventQueue events;
  grpc::Alarm alarm;
  int tag = 0;
  alarm.Set(events.queue(), gpr_now(GPR_CLOCK_MONOTONIC), &tag);
  events.Wake();
  const EventQueue::Event event = events.Await();
  EXPECT_EQ(event.tag, &tag);
  EXPECT_TRUE(event.ok);
}

}  // namespace
}  // namespace gradwatch::worker
