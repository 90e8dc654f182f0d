#include "server/history/step_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace gradwatch::server {
namespace {

std::set<int64_t> StepsOf(const StepRanges& ranges) {
  std::set<int64_t> steps;
  for (const StepRange& range : ranges) {
    for (int64_t step = range.first; step <= range.last; ++step) steps.insert(step);
  }
  return steps;
}

void ExpectRisingAndDisjoint(const StepRanges& ranges) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_FALSE(ranges[i].empty());
    EXPECT_TRUE(i == 0 || ranges[i - 1].last < ranges[i].first);
  }
}

TEST(StepRangesTest, AreSetsOfSteps) {
  std::mt19937_64 random(1);
  const auto any = [&random] {
    StepRanges ranges;
    for (size_t i = random() % 6; i > 0; --i) {
      const auto first = static_cast<int64_t>(random() % 100);
      ranges.push_back({.first = first, .last = first + static_cast<int64_t>(random() % 20) - 1});
    }
    return ranges;
  };
  for (int round = 0; round < 2000; ++round) {
    const StepRanges unordered = any(), a = Together(unordered), b = Together(any());
    EXPECT_EQ(StepsOf(a), StepsOf(unordered));
    std::set<int64_t> without = StepsOf(a);
    for (const int64_t step : StepsOf(b)) without.erase(step);
    EXPECT_EQ(StepsOf(Without(a, b)), without);
    const StepRange window = {.first = 20, .last = 60};
    std::set<int64_t> common;
    for (const int64_t step : StepsOf(a)) {
      if (window.Has(step)) common.insert(step);
    }
    EXPECT_EQ(StepsOf(Common(a, window)), common);
    std::set<int64_t> rounded;
    for (const int64_t step : StepsOf(a)) {
      for (int64_t i = 0; i < 16; ++i) rounded.insert(step / 16 * 16 + i);
    }
    EXPECT_EQ(StepsOf(RoundOut(a, 16)), rounded);
    for (const StepRanges& ranges : {a, Without(a, b), Common(a, window), RoundOut(a, 16)}) {
      ExpectRisingAndDisjoint(ranges);
    }
  }
}

}  // namespace
}  // namespace gradwatch::server
