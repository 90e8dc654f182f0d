#include "server/history/history_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

HistoryItem Item(int64_t first, int64_t last, int64_t through = -1) {
  return {.steps = {first, last}, .through = through < 0 ? last : through, .bytes = 100};
}

TEST(HistoryIndexTest, KnowsWhatIsStoredAndLost) {
  HistoryIndex index;
  EXPECT_EQ(index.LastStep(1), -1);
  index.Apply({.attempt = 1, .stored = {{0, Item(0, 255)}, {0, Item(256, 300)}}, .lost = {{{301, 310}, "away"}}});
  EXPECT_EQ(index.LastStep(1), 310);
  EXPECT_EQ(index.StepBefore(1, 256), 255);
  EXPECT_EQ(index.StepBefore(1, 301), 300);
  EXPECT_EQ(index.bytes()[0], 200);
  EXPECT_EQ(index.FirstItemAfter(1, 0, 255)->steps, (StepRange{256, 300}));
  EXPECT_EQ(index.FirstItemAfter(1, 0, 300), std::nullopt);
  EXPECT_THAT(index.Lost(1, {305, 400}), ElementsAre(LostSteps{{305, 310}, "away"}));
  index.Apply({.attempt = 1, .removed = {{0, 256}}, .stored = {{0, Item(256, 400)}}});
  EXPECT_EQ(index.bytes()[0], 200);
  EXPECT_EQ(index.Items(1, 0, {0, 1000}).size(), 2u);
  EXPECT_THAT(index.Items(2, 0, {0, 1000}), IsEmpty());
}

TEST(HistoryIndexTest, LostRangesAreCutAndJoined) {
  HistoryIndex index;
  index.Apply({.attempt = 1, .lost = {{{0, 99}, "a"}, {{20, 29}, "b"}, {{100, 109}, "a"}}});
  EXPECT_THAT(index.Lost(1, {0, 1000}),
              ElementsAre(LostSteps{{0, 19}, "a"}, LostSteps{{20, 29}, "b"}, LostSteps{{30, 109}, "a"}));
  index.Apply({.attempt = 1, .dropped = {{{15, 35}, "d"}, {{110, 119}, "d"}, {{120, 129}, "d"}}});
  EXPECT_THAT(index.Lost(1, {100, 1000}), ElementsAre(LostSteps{{100, 109}, "a"}, LostSteps{{110, 129}, "d"}))
      << "what is lost stays so";
}

TEST(HistoryIndexTest, LostRangesAreBounded) {
  HistoryIndex index;
  const auto most = static_cast<int64_t>(kMostLostRanges);
  for (int64_t i = 0; i < most; ++i) index.Apply({.attempt = 1, .lost = {{{2 * i, 2 * i}, "away"}}});
  EXPECT_EQ(index.Lost(1, {0, 1 << 20}).size(), kMostLostRanges);
  EXPECT_EQ(index.Lost(1, {0, 1 << 20})[0], (LostSteps{{0, 0}, "away"}));
  for (int64_t i = most; i < most + 100; ++i) index.Apply({.attempt = 1, .lost = {{{2 * i, 2 * i}, "away"}}});
  const std::vector<LostSteps> lost = index.Lost(1, {0, 1 << 20});
  ASSERT_EQ(lost.size(), kMostLostRanges);
  EXPECT_EQ(lost[0], (LostSteps{{0, 200}, kManyLostReason}));
  EXPECT_EQ(lost[1], (LostSteps{{202, 202}, "away"}));
  EXPECT_EQ(lost.back().steps.last, 2 * (most + 99));
}

TEST(HistoryIndexTest, ABucketThatMayGrowIsNotKept) {
  HistoryIndex index;
  index.Apply(
      {.attempt = 1, .stored = {{0, Item(0, 255)}, {1, Item(0, 255)}, {0, Item(256, 300)}, {1, Item(256, 511, 300)}}});
  const auto kept = index.Kept(1, {{301, 303}});
  EXPECT_THAT(kept[0], ElementsAre(StepRange{0, 303}));
  EXPECT_THAT(kept[1], ElementsAre(StepRange{0, 287})) << "step 288 begins the bucket of step 300";
  EXPECT_THAT(kept[2], IsEmpty());
  // Its reports are gone: nothing else tells of them.
  index.Apply({.attempt = 1, .removed = {{0, 0}, {0, 256}}, .dropped = {{{0, 300}, kDroppedReason}}});
  EXPECT_THAT(index.Kept(1, {})[0], IsEmpty());
  EXPECT_THAT(index.Kept(1, {})[1], ElementsAre(StepRange{0, 303}));
}

TEST(HistoryIndexTest, WhatIsDroppedIsAHoleAndWhatNeverCameIsNone) {
  HistoryIndex index;
  index.Apply({.attempt = 1, .stored = {{0, Item(0, 255)}, {0, Item(512, 767)}, {0, Item(1024, 1279)}}});
  EXPECT_THAT(index.Kept(1, {})[0], ElementsAre(StepRange{0, 1279}));
  index.Apply({.attempt = 1, .removed = {{0, 512}}, .dropped = {{{512, 767}, kDroppedReason}}});
  EXPECT_THAT(index.Kept(1, {})[0], ElementsAre(StepRange{0, 511}, StepRange{768, 1279}));
}

TEST(HistoryIndexTest, ProtectedStepsAreTold) {
  HistoryIndex index;
  index.Protect(1, {10, 20});
  index.Protect(1, {12, 15});
  index.Protect(1, {21, 30});
  index.Apply({.attempt = 1, .stored = {{0, Item(0, 255)}}});
  const RetainedJob job = index.Retained(0);
  ASSERT_EQ(job.protected_ranges.size(), 1u);
  EXPECT_EQ(job.protected_ranges[0].last_step, 30);
  EXPECT_EQ(job.blocks.size(), 1u);
}

TEST(HistoryIndexTest, ShortRowsAreThoseAtTheEnd) {
  HistoryIndex index;
  index.Apply({.attempt = 1, .stored = {{1, Item(0, 4095)}, {1, Item(4096, 4351)}, {1, Item(4352, 4607)}}});
  EXPECT_EQ(index.ShortItems(1, 1, 4096).size(), 2u);
  EXPECT_EQ(index.ShortItems(1, 1, 4096)[0].steps.first, 4096);
}

}  // namespace
}  // namespace gradwatch::server
