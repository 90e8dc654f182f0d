#include "server/history/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(500'000);

absl::Time At(int second) { return kStart + absl::Seconds(second); }

// Blocks of 256 steps and 100 bytes, one a second from `second`.
RetainedJob JobOf(int blocks, int second = 0) {
  RetainedJob job;
  for (int i = 0; i < blocks; ++i) job.blocks.push_back({1, 256 * i, 256 * i + 255, 100, At(second + i)});
  return job;
}

std::vector<std::pair<size_t, size_t>> Places(const std::vector<DroppedBlock>& dropped) {
  std::vector<std::pair<size_t, size_t>> places;
  for (const DroppedBlock& block : dropped) places.emplace_back(block.job, block.block);
  return places;
}

using Place = std::pair<size_t, size_t>;

TEST(RetentionTest, DropsWhatIsOverABudgetOldestFirst) {
  const struct {
    std::string name;
    int64_t job_bytes;
    int64_t all_bytes;
    absl::Duration max_age;
    std::vector<Place> expected;
  } kCases[] = {
      {"no budget", 0, 0, absl::ZeroDuration(), {}},
      {"within", 1000, 2000, absl::Seconds(100), {}},
      {"a job", 800, 0, absl::ZeroDuration(), {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}}},
      {"all together", 0, 1700, absl::ZeroDuration(), {{0, 0}, {0, 1}, {0, 2}, {0, 3}}},
      {"all, jobs by turns",
       0,
       1100,
       absl::ZeroDuration(),
       {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {1, 0}, {0, 6}, {1, 1}, {0, 7}}},
      {"age", 0, 0, absl::Seconds(13), {{0, 0}, {0, 1}}},
      {"age, then bytes", 900, 0, absl::Seconds(13), {{0, 0}, {0, 1}, {1, 0}, {1, 1}}},
      {"a job, then all", 900, 1500, absl::ZeroDuration(), {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {0, 2}, {0, 3}}},
  };
  for (const auto& c : kCases) {
    std::vector<RetainedJob> jobs = {JobOf(10), JobOf(10, 5)};  // the second one began after 5.5 blocks of the first
    for (RetainedBlock& block : jobs[1].blocks) block.stored += absl::Milliseconds(500);
    for (RetainedJob& job : jobs) job.budget = {c.job_bytes, c.max_age};
    EXPECT_EQ(Places(BlocksToDrop(jobs, c.all_bytes, At(15))), c.expected) << c.name;
  }
}

TEST(RetentionTest, WhatIsProtectedGoesLastAndNotByAge) {
  RetainedJob job = JobOf(10);
  job.protected_ranges = {{1, 200, 300}, {2, 512, 600}, {1, 10'000, 20'000}};  // blocks 0 and 1
  job.budget.max_age = absl::Seconds(5);
  EXPECT_THAT(Places(BlocksToDrop({job}, 0, At(10))), ElementsAre(Place{0, 2}, Place{0, 3}, Place{0, 4}));
  job.budget = {.max_bytes = 300};
  EXPECT_THAT(Places(BlocksToDrop({job}, 0, At(10))), ElementsAre(Place{0, 2}, Place{0, 3}, Place{0, 4}, Place{0, 5},
                                                                  Place{0, 6}, Place{0, 7}, Place{0, 8}, Place{0, 9}));
  // Nothing else is left: as few as will do, and it is told.
  job.protected_ranges = {{1, 0, 9 * 256}};
  job.budget = {.max_bytes = 800};
  EXPECT_THAT(BlocksToDrop({job}, 0, At(10)), ElementsAre(DroppedBlock{0, 0, true}, DroppedBlock{0, 1, true}));
}

TEST(RetentionTest, ABlockIsDroppedOnceAndTheOrderOfBlocksIsNothing) {
  RetainedJob job = JobOf(10);
  std::swap(job.blocks[0], job.blocks[9]);
  job.budget = {.max_bytes = 820, .max_age = absl::Seconds(9)};
  EXPECT_THAT(Places(BlocksToDrop({job}, 500, At(10))),
              ElementsAre(Place{0, 9}, Place{0, 1}, Place{0, 2}, Place{0, 3}, Place{0, 4}, Place{0, 5}));
  EXPECT_THAT(BlocksToDrop({}, 1, At(0)), IsEmpty());
  EXPECT_THAT(BlocksToDrop({RetainedJob{}}, 1, At(0)), IsEmpty());
}

// Blocks as they come, one after the other, of jobs of any pace: what is kept is never over the budget, nor below it by
// more than a twentieth, nor does each block drop another one.
TEST(RetentionTest, StaysWithinATwentiethOfTheBudget) {
  std::mt19937 random(1);
  constexpr int64_t kAll = 1'000'000, kOfJob = 400'000;
  std::vector<RetainedJob> jobs(5);
  std::vector<int64_t> bytes(5);
  for (RetainedJob& job : jobs) job.budget.max_bytes = kOfJob;
  int drops = 0, seen = 0;
  constexpr int kBlocks = 3000;
  for (int i = 0; i < kBlocks; ++i) {
    const size_t fresh = std::min(random() % 5, random() % 5);
    const int64_t size = 500 + random() % 5000;
    RetainedJob& job = jobs[fresh];
    const int64_t step = job.blocks.empty() ? 0 : job.blocks.back().last_step + 1;
    job.blocks.push_back({1, step, step + 255, size, At(i)});
    const auto dropped = BlocksToDrop(jobs, kAll, At(i));
    drops += dropped.empty() ? 0 : 1;
    std::vector<std::set<size_t>> gone(5);
    for (const DroppedBlock& block : dropped) EXPECT_TRUE(gone[block.job].insert(block.block).second);
    int64_t all = 0;
    for (size_t j = 0; j < jobs.size(); ++j) {
      std::vector<RetainedBlock> left;
      bytes[j] = 0;
      for (size_t k = 0; k < jobs[j].blocks.size(); ++k) {
        if (gone[j].contains(k)) continue;
        left.push_back(jobs[j].blocks[k]);
        bytes[j] += left.back().bytes;
      }
      jobs[j].blocks = left;
      EXPECT_LE(bytes[j], kOfJob);
      all += bytes[j];
    }
    EXPECT_LE(all, kAll);
    if (!dropped.empty() && all > kAll * 0.9) {
      ++seen;
      EXPECT_GE(all, kAll * 0.95);
    }
  }
  EXPECT_GT(seen, 20);
  EXPECT_LT(drops, kBlocks / 5);
}

}  // namespace
}  // namespace gradwatch::server
