#include "server/stream/ring_budget.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "server/stream/job_channel.h"
#include "tests/server/store/store_testing.h"

namespace gradwatch::server {
namespace {

constexpr size_t kOfOne = 40'000;

size_t HeldBy(const JobChannel& channel) {
  size_t bytes = 0;
  const auto start = channel.Read(channel.End(), 1).start;
  for (const auto& report : channel.Read(start, kOfOne).reports) bytes += report.bytes->size() + kEntryOverhead;
  return bytes;
}

class RingBudgetTest : public ::testing::Test {
 protected:
  std::unique_ptr<JobChannel> Run(RingBudget* budget, int steps, bool ends) {
    auto channel = std::make_unique<JobChannel>("u", WatchCursor(), false, budget);
    channel->AppendReports(MakeReports(1, 0, steps - 1));
    channel->AppendEvent(EncodeEvent(MakeEvent("j", 1), 1), ends);
    return channel;
  }
};

// Ended jobs kept theirs for ever.
TEST_F(RingBudgetTest, AJobThatHasEndedGivesItsRingsBack) {
  RingBudget budget(100 * kOfOne, kOfOne);
  const auto ended = Run(&budget, 100, true);
  const auto running = Run(&budget, 100, false);
  const size_t both = budget.used_bytes();
  budget.Tick(absl::Seconds(100));
  budget.Tick(absl::Seconds(100) + RingBudget::kKeepEnded - absl::Milliseconds(1));
  EXPECT_EQ(budget.used_bytes(), both) << "its watchers are reading the end";
  budget.Tick(absl::Seconds(100) + RingBudget::kKeepEnded);
  EXPECT_LT(budget.used_bytes(), both * 2 / 3);
  EXPECT_EQ(HeldBy(*ended), 0u);
  EXPECT_GT(HeldBy(*running), 0u);
  EXPECT_TRUE(ended->Read({}, kOfOne).reports_behind) << "the rest is in the store";
  EXPECT_TRUE(ended->Read(ended->End(), kOfOne).ended);
}

TEST_F(RingBudgetTest, AnEventAfterTheEndIsGivenBackToo) {
  RingBudget budget(100 * kOfOne, kOfOne);
  const auto ended = Run(&budget, 10, true);
  budget.Tick(absl::Seconds(1));
  budget.Tick(absl::Seconds(7));
  EXPECT_EQ(budget.used_bytes(), 0u);
  ended->AppendEvent(EncodeEvent(MakeEvent("j", 2), 2), false);
  EXPECT_GT(budget.used_bytes(), 0u);
  budget.Tick(absl::Seconds(8));
  budget.Tick(absl::Seconds(14));
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST_F(RingBudgetTest, AllTogetherStayBelowTheTotal) {
  RingBudget budget(3 * kOfOne, kOfOne);
  const auto ended = Run(&budget, 100, true);
  const auto small = Run(&budget, 20, false);
  std::vector<std::unique_ptr<JobChannel>> large;
  const size_t of_small = HeldBy(*small);
  for (int i = 0; i < 10; ++i) {
    large.push_back(Run(&budget, 400, false));
    EXPECT_LE(budget.used_bytes(), 3 * kOfOne);
  }
  EXPECT_EQ(HeldBy(*ended), 0u) << "ended jobs give back first";
  EXPECT_EQ(HeldBy(*small), of_small) << "then the largest";
  for (const auto& channel : large) EXPECT_EQ(channel->End(), (WatchCursor{1, 1, 399}));
}

TEST_F(RingBudgetTest, WhoGoesGivesBack) {
  RingBudget budget(100 * kOfOne, kOfOne);
  auto channel = Run(&budget, 100, false);
  EXPECT_GT(budget.used_bytes(), 0u);
  channel.reset();
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST_F(RingBudgetTest, ChannelsComeAndGoWhileOthersGrow) {
  RingBudget budget(2 * kOfOne, kOfOne);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) Run(&budget, 300, round % 2 == 0);
    });
  }
  threads.emplace_back([&] {
    for (int second = 0; second < 200; ++second) budget.Tick(absl::Seconds(second));
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used_bytes(), 0u);
}

}  // namespace
}  // namespace gradwatch::server
