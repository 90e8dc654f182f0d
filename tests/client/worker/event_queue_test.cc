#include "client/worker/event_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

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

TEST(EventQueueTest, EndsWhateverIsOnItsWay) {
  for (int round = 0; round < 300; ++round) {
    EventQueue events;
    if (round % 3 > 0) events.Wake();
    if (round % 3 > 1) events.Next(absl::ZeroDuration());
  }
}

TEST(EventQueueTest, EndsBehindTheLastWakeOfAnotherThread) {
  for (int round = 0; round < 100; ++round) {
    EventQueue events;
    std::atomic<bool> ends{false};
    std::thread waker([&] {
      while (!ends.load()) events.Wake();
      events.Wake();
    });
    events.Next(absl::Hours(1));
    ends.store(true);
    waker.join();
  }
}

// How often the thread that wakes has stopped to wait; nothing: there is none.
std::optional<int64_t> WaitsOfTheWaker() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name, line;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name != "wake") continue;
    std::ifstream status(task.path() / "status");
    int64_t count = 0;
    while (std::getline(status, line)) {
      absl::string_view text = line;
      if (absl::ConsumePrefix(&text, "voluntary_ctxt_switches:") && absl::SimpleAtoi(text, &count)) return count;
    }
  }
  return std::nullopt;
}

// The caller may lose its processor at any moment, and does no more than to say that a wake is wanted.
TEST(EventQueueTest, AThreadOfItsOwnWakes) {
  EventQueue events;
  events.Wake();
  events.Next(absl::Hours(1));  // by now it has its name
  const std::optional<int64_t> before = WaitsOfTheWaker();
  ASSERT_TRUE(before.has_value());
  std::optional<int64_t> waits = before;
  for (int round = 0; round < 10'000 && waits == before; ++round) {
    events.Wake();
    events.Next(absl::Hours(1));
    waits = WaitsOfTheWaker();
  }
  EXPECT_GT(waits, before);
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
