// When a run is lost, on losses of which that is plain to see.
#include "tests/support/loss_marks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <vector>

namespace gradwatch::testing {
namespace {

using ::testing::Optional;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

LossMarks MarksOf(const std::vector<double>& losses) {
  LossMarks marks;
  for (size_t i = 0; i < losses.size(); ++i) marks.Add(static_cast<int64_t>(i), losses[i]);
  return marks;
}

std::vector<double> Then(std::vector<double> first, const std::vector<double>& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

TEST(LossMarksTest, AHealthyRunHasNone) {
  const LossMarks marks = MarksOf({5, 4, 3, 2.5, 2, 1.9, 1.8});
  EXPECT_EQ(marks.passed(), std::nullopt);
  EXPECT_EQ(marks.end(), std::nullopt);
  EXPECT_EQ(marks.last(), 1.8);
}

// Nineteen are a bump; twenty are dated to the first of them.
TEST(LossMarksTest, TwentyLossesOverThreeTimesTheBestAreALoss) {
  const std::vector<double> calm(30, 1.0), bump(19, 4.0), loss(20, 4.0);
  EXPECT_EQ(MarksOf(Then(calm, std::vector<double>(40, 2.9))).passed(), std::nullopt);
  EXPECT_EQ(MarksOf(Then(Then(Then(calm, bump), {1}), bump)).passed(), std::nullopt);
  const LossMarks back = MarksOf(Then(Then(calm, loss), {1, 1}));
  EXPECT_THAT(back.passed(), Optional(30));
  EXPECT_EQ(back.lost(), std::nullopt) << "it came back";
  const LossMarks lost = MarksOf(Then(Then(Then(calm, loss), {1}), loss));
  EXPECT_THAT(lost.passed(), Optional(30));
  EXPECT_THAT(lost.lost(), Optional(51));
  EXPECT_EQ(lost.end(), lost.lost());
}

// Whether the run goes on or not: only what ends broken is lost in fewer than twenty.
TEST(LossMarksTest, AShortTailCountsWhereTheRunEndsBroken) {
  const std::vector<double> tail = Then(std::vector<double>(30, 1.0), {2.9, 4, 5});
  EXPECT_EQ(MarksOf(tail).passed(), std::nullopt);
  EXPECT_THAT(MarksOf(Then(tail, {kNaN})).passed(), Optional(31));
  EXPECT_EQ(MarksOf(Then(tail, {kNaN, 1})).passed(), std::nullopt) << "it came back";
  LossMarks gradients = MarksOf(tail);
  gradients.Add(33, 6, false);
  EXPECT_THAT(gradients.passed(), Optional(31));
  EXPECT_THAT(gradients.lost(), Optional(31));
}

// However much the quiet losses scatter.
TEST(LossMarksTest, OnlyTheBestCounts) {
  std::vector<double> losses(40, 1.0);
  for (size_t i = 0; i < losses.size(); i += 10) losses[i] = 8;
  EXPECT_THAT(MarksOf(Then(losses, std::vector<double>(20, 3.1))).passed(), Optional(40));
  EXPECT_EQ(MarksOf(Then(losses, std::vector<double>(20, 3.0))).passed(), std::nullopt);
}

// Its median never rises, and one low loss does not make a best.
TEST(LossMarksTest, TheBestIsTheLowestMedian) {
  std::vector<double> losses(30, 1.0);
  losses[25] = 1e-9;
  EXPECT_EQ(MarksOf(losses).best(), 1);
  EXPECT_EQ(MarksOf(Then(losses, std::vector<double>(100, 2.0))).best(), 1);
  EXPECT_EQ(MarksOf(Then(losses, std::vector<double>(100, 0.5))).best(), 0.5);
}

TEST(LossMarksTest, WhatIsNotFiniteIsTheEnd) {
  const LossMarks marks = MarksOf({1, 1, 1, kNaN, 1, 1});
  EXPECT_THAT(marks.non_finite(), Optional(3));
  EXPECT_THAT(marks.end(), Optional(3));
  EXPECT_EQ(marks.passed(), std::nullopt) << "one step";
  EXPECT_EQ(marks.best(), 1);
  LossMarks gradients;
  gradients.Add(0, 1, true);
  gradients.Add(1, 1, false);
  EXPECT_THAT(gradients.non_finite(), Optional(1));
  EXPECT_THAT(MarksOf(std::vector<double>(20, kNaN)).passed(), Optional(0));
}

}  // namespace
}  // namespace gradwatch::testing
