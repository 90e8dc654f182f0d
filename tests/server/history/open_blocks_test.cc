#include "server/history/open_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

v1::StepReport Report(int32_t attempt, int64_t step, double loss = 1) {
  v1::StepReport report;
  report.set_attempt(attempt);
  report.set_step(step);
  report.set_loss(loss);
  return report;
}

std::vector<std::pair<int64_t, double>> Read(const OpenBlocks& blocks, int32_t attempt, int64_t after) {
  std::vector<std::pair<int64_t, double>> reports;
  blocks.ForEachAfter(attempt, after, [&](const v1::StepReport& report) {
    EXPECT_EQ(report.attempt(), attempt);
    reports.emplace_back(report.step(), report.loss());
    return true;
  });
  return reports;
}

using Step = std::pair<int64_t, double>;

TEST(OpenBlocksTest, BlocksAreDueWhenTheyAreWholeOrBehindOrOld) {
  const absl::Duration old = absl::Seconds(10), young = absl::Seconds(20), limit = absl::Seconds(15);
  const struct {
    std::string name;
    std::vector<v1::StepReport> reports;
    absl::Duration since;
    std::vector<BlockId> expected;
  } kCases[] = {
      {"nothing", {}, old, {}},
      {"begun", {Report(1, 0)}, young, {}},
      {"old", {Report(1, 0)}, old, {{1, 0}}},
      {"whole", {Report(1, 255)}, young, {{1, 0}}},
      {"the next has begun", {Report(1, 3), Report(1, 256)}, young, {{1, 0}}},
      {"the next attempt has begun", {Report(1, 300), Report(2, 3)}, young, {{1, 256}}},
      {"an earlier one was sent again", {Report(2, 300), Report(2, 3), Report(1, 3)}, young, {{1, 0}, {2, 0}}},
  };
  for (const auto& c : kCases) {
    OpenBlocks blocks;
    for (const v1::StepReport& report : c.reports) blocks.Add(report, 1, c.since);
    EXPECT_EQ(blocks.Due(limit), c.expected) << c.name;
  }
}

TEST(OpenBlocksTest, WhatComesOfAClosingBlockOpensItAgain) {
  OpenBlocks blocks;
  blocks.Add(Report(1, 5, 1.5), 7, absl::Seconds(1));
  blocks.Add(Report(1, 255, 1.25), 8, absl::Seconds(2));
  const std::shared_ptr<const OpenBlock> closing = blocks.StartClosing({1, 0});
  blocks.Add(Report(1, 5, 2.5), 9, absl::Seconds(3));
  blocks.Add(Report(1, 4, 4.5), 9, absl::Seconds(3));
  EXPECT_THAT(blocks.Due(absl::Seconds(100)), ElementsAre(BlockId{1, 0})) << "the first: it is not committed yet";
  EXPECT_EQ(blocks.Largest(), std::nullopt);
  EXPECT_THAT(blocks.FirstJournal(), Optional(7u));
  EXPECT_THAT(Read(blocks, 1, -1), ElementsAre(Step{4, 4.5}, Step{5, 2.5}, Step{255, 1.25}));
  EXPECT_THAT(Read(blocks, 1, 4), ElementsAre(Step{5, 2.5}, Step{255, 1.25}));
  EXPECT_EQ(blocks.Tiers({1, 0})[0].At(static_cast<size_t>(JobSeries::kLoss), 0).sum, 7);
  EXPECT_TRUE(closing->is_whole());
  EXPECT_EQ(blocks.StartClosing({1, 0}), closing) << "once more, where it could not be committed";
  EXPECT_THAT(blocks.Blocks({1, 0}), SizeIs(2));
  EXPECT_THAT(blocks.Blocks({1, 256}), IsEmpty());
  EXPECT_THAT(blocks.Extents(1), ElementsAre(StepRange{4, 255}));
  EXPECT_THAT(blocks.Attempts(), ElementsAre(1));

  blocks.Closed({1, 0});
  EXPECT_THAT(blocks.FirstJournal(), Optional(9u));
  EXPECT_THAT(blocks.Due(absl::Seconds(100)), ElementsAre(BlockId{1, 0}));
  EXPECT_THAT(Read(blocks, 1, -1), ElementsAre(Step{4, 4.5}, Step{5, 2.5}));
  EXPECT_EQ(blocks.Tiers({1, 0})[0].At(static_cast<size_t>(JobSeries::kLoss), 0).sum, 7);
  blocks.StartClosing({1, 0});
  blocks.Closed({1, 0});
  EXPECT_TRUE(blocks.empty());
  EXPECT_EQ(blocks.FirstJournal(), std::nullopt);
  EXPECT_THAT(blocks.Tiers({1, 0}), IsEmpty());
  EXPECT_EQ(blocks.memory_bytes(), 0u);
}

TEST(OpenBlocksTest, AttemptsAreReadApartAndTheLargestBlockIsKnown) {
  OpenBlocks blocks;
  for (int64_t step = 50; step < 300; ++step) blocks.Add(Report(1, step), 1, absl::Seconds(1));
  blocks.Add(Report(2, 0), 2, absl::Seconds(1));
  blocks.AddLost(1, {{300, 900}, "away"}, 3, absl::Seconds(1));
  blocks.AddLost(2, {{1, 2}, "full"}, 3, absl::Seconds(1));
  EXPECT_EQ(Read(blocks, 1, -1).size(), 250u);
  EXPECT_EQ(Read(blocks, 1, 249).size(), 50u);
  EXPECT_EQ(Read(blocks, 1, 270).front().first, 271);
  EXPECT_EQ(Read(blocks, 2, -1).size(), 1u);
  EXPECT_THAT(Read(blocks, 3, -1), IsEmpty());
  EXPECT_THAT(blocks.Lost(1), ElementsAre(LostSteps{{300, 900}, "away"}));
  EXPECT_THAT(blocks.Lost(2), ElementsAre(LostSteps{{1, 2}, "full"}));
  EXPECT_THAT(blocks.Largest(), Optional(BlockId{1, 0}));
  int seen = 0;
  blocks.ForEachAfter(1, 250, [&](const v1::StepReport&) { return ++seen < 10; });
  EXPECT_EQ(seen, 10);
}

}  // namespace
}  // namespace gradwatch::server
