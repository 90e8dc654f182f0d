#include "core/base/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

class WorkersTest : public ::testing::TestWithParam<int> {};

TEST_P(WorkersTest, DoesEveryPartOnceOnItsThread) {
  Workers workers(GetParam());
  EXPECT_EQ(workers.threads(), GetParam());
  std::vector<std::thread::id> thread_of(GetParam());
  for (int parts = 0; parts < 3 * GetParam() + 2; ++parts) {
    std::vector<int> done(parts, 0);
    std::vector<std::thread::id> by(parts);
    workers.Run(parts, [&](int part) {
      ++done[part];
      by[part] = std::this_thread::get_id();
    });
    EXPECT_EQ(done, std::vector<int>(parts, 1));
    if (parts < 2) continue;
    for (int part = 0; part < parts; ++part) {
      std::thread::id& expected = thread_of[part % GetParam()];
      if (expected == std::thread::id()) expected = by[part];
      EXPECT_EQ(by[part], expected) << part << " of " << parts;
    }
    EXPECT_EQ(by[0], std::this_thread::get_id());
  }
}

// What one call wrote the next one reads, on whatever thread.
TEST_P(WorkersTest, CallsAreOneAfterTheOther) {
  Workers workers(GetParam());
  constexpr int kParts = 7;
  std::vector<int64_t> numbers(kParts, 1), next(kParts);
  for (int round = 0; round < 300; ++round) {
    workers.Run(kParts, [&](int part) { next[part] = numbers[(part + 1) % kParts] + 1; });
    numbers.swap(next);
  }
  EXPECT_EQ(numbers, std::vector<int64_t>(kParts, 301));
}

TEST_P(WorkersTest, AllocatesNothing) {
  Workers workers(GetParam());
  std::atomic<int> sum{0};
  workers.Run(8, [&](int part) { sum += part; });
  const int64_t before = testing::AllocationCount();
  for (int i = 0; i < 100; ++i) workers.Run(8, [&](int part) { sum += part; });
  if (testing::CountsAllocations()) {
    EXPECT_EQ(testing::AllocationCount(), before);
  }
  EXPECT_EQ(sum, 101 * 28);
}

INSTANTIATE_TEST_SUITE_P(Threads, WorkersTest, ::testing::Values(1, 2, 3, 8));

TEST(RunPartsTest, IsALoopWithoutWorkers) {
  std::vector<int> parts;
  RunParts(nullptr, 3, [&](int part) { parts.push_back(part); });
  EXPECT_EQ(parts, (std::vector<int>{0, 1, 2}));
}

TEST(PartBeginTest, SplitsEvenly) {
  for (int64_t size = 0; size < 20; ++size) {
    for (int64_t parts = 1; parts < 6; ++parts) {
      EXPECT_EQ(PartBegin(size, 0, parts), 0);
      EXPECT_EQ(PartBegin(size, parts, parts), size);
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t part_size = PartBegin(size, part + 1, parts) - PartBegin(size, part, parts);
        EXPECT_LE(std::abs(part_size - size / parts), 1);
      }
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
