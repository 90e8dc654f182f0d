// Against all ways in which steps may hold or not, counted the long way.
#include "core/detect/holding_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gradwatch::core {
namespace {

// How many of the last `within` steps of `held` held.
int CountOf(const std::vector<bool>& held, int within) {
  const auto from = held.size() > static_cast<size_t>(within) ? held.end() - within : held.begin();
  return static_cast<int>(std::count(from, held.end(), true));
}

// Whether it takes less than `needed` further steps until `needed` of `within` hold.
bool HelpsOf(std::vector<bool> held, int needed, int within) {
  for (int more = 1; more < needed; ++more) {
    held.push_back(true);
    if (CountOf(held, within) >= needed) return true;
  }
  return false;
}

TEST(HoldingStepsTest, CountsTheLastOnes) {
  constexpr int kSteps = 12;
  for (const auto& [needed, within] :
       std::vector<std::pair<int, int>>{{1, 1}, {2, 3}, {3, 5}, {2, 8}, {4, 4}, {1, 4}}) {
    for (uint32_t pattern = 0; pattern < (1u << kSteps); ++pattern) {
      HoldingSteps steps(needed, within);
      std::vector<bool> held;
      for (int64_t step = 0; step < kSteps; ++step) {
        held.push_back((pattern >> step & 1) != 0);
        // Steps that nobody could judge lie between them: every other number.
        held.back() ? steps.Hold(2 * step) : steps.Calm();
        const bool in_a_row = needed == within;
        const int count = CountOf(held, in_a_row ? kSteps : within);
        const int64_t last_calm = std::find(held.rbegin(), held.rend(), false) - held.rbegin();
        ASSERT_EQ(steps.count(), in_a_row ? last_calm : count)
            << needed << " " << within << " " << pattern << " " << step;
        ASSERT_EQ(steps.enough(), CountOf(held, within) >= needed);
        if (!held.back() && !steps.enough()) {
          ASSERT_EQ(steps.Helps(), HelpsOf(held, needed, within));
        }
        if (steps.count() == 0) continue;
        int64_t first = in_a_row ? step + 1 - last_calm : std::max<int64_t>(0, step + 1 - within);
        while (!held[static_cast<size_t>(first)]) ++first;
        ASSERT_EQ(steps.first_step(), 2 * first);
      }
    }
  }
}

TEST(HoldingStepsTest, TheLongestWindow) {
  HoldingSteps steps(64, HoldingSteps::kMostWithin), two(2, HoldingSteps::kMostWithin);
  for (int step = 0; step < 63; ++step) steps.Hold(step);
  EXPECT_FALSE(steps.enough());
  steps.Hold(63);
  EXPECT_TRUE(steps.enough());
  two.Hold(100);
  for (int i = 0; i < 62; ++i) two.Calm();
  EXPECT_TRUE(two.Helps());
  EXPECT_EQ(two.first_step(), 100);
  two.Calm();
  EXPECT_FALSE(two.Helps()) << "the next one would be the 65th";
  EXPECT_EQ(two.count(), 1);
  two.Calm();
  EXPECT_EQ(two.count(), 0);
}

TEST(HoldingStepsTest, MoreInARowThanAWindowHasAreCounted) {
  HoldingSteps steps(1000, 1000);
  for (int step = 5; step < 1004; ++step) steps.Hold(step);
  EXPECT_FALSE(steps.enough());
  steps.Hold(1004);
  EXPECT_TRUE(steps.enough());
  EXPECT_EQ(steps.first_step(), 5);
}

TEST(HoldingStepsTest, WhatIsClearedDoesNotCount) {
  for (const int within : {2, 5}) {
    HoldingSteps steps(2, within);
    steps.Hold(1);
    steps.Clear();
    EXPECT_EQ(steps.count(), 0);
    steps.Hold(2);
    EXPECT_FALSE(steps.enough());
    EXPECT_EQ(steps.first_step(), 2);
  }
}

}  // namespace
}  // namespace gradwatch::core
