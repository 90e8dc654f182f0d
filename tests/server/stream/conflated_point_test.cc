#include "server/stream/conflated_point.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "tests/server/stream/stream_testing.h"

namespace gradwatch::server {
namespace {

v1::StepReport RandomReport(std::mt19937_64& random) {
  const auto any = [&random] {
    const double values[] = {0, -0.0, 1.5, NAN, INFINITY, static_cast<double>(random() % 1000)};
    return values[random() % 6];
  };
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(static_cast<int64_t>(random() % 1000));
  report.set_loss(any());
  if (random() % 2 == 0) report.set_grad_norm(any());
  if (random() % 4 == 0) report.set_nan_count(3);
  if (random() % 4 == 0) report.set_pos_inf_count(1);
  if (random() % 4 == 0) report.set_neg_inf_count(1);
  if (random() % 2 == 0) report.mutable_clip()->set_threshold(2);
  for (uint64_t i = 0; i < random() % 4; ++i) report.add_tensors()->set_l2_norm(1);
  return report;
}

bool Same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

TEST(ConflatedPointTest, FiguresAreThoseOfTheReport) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    const v1::StepReport report = RandomReport(random);
    const StepFigures wanted = FiguresOf(report), read = ReadFigures(EncodeReport(report));
    EXPECT_EQ(read.step, wanted.step);
    EXPECT_TRUE(Same(read.loss, wanted.loss));
    ASSERT_EQ(read.grad_norm.has_value(), wanted.grad_norm.has_value());
    EXPECT_TRUE(Same(read.grad_norm.value_or(0), wanted.grad_norm.value_or(0)));
    ASSERT_EQ(read.gradient_is_finite, wanted.gradient_is_finite);
  }
}

TEST(ConflatedPointTest, WhatCannotBeReadIsNotHidden) {
  std::mt19937_64 random(2);
  v1::StepReport report = RandomReport(random);
  report.set_loss(1);
  EncodedReport encoded = EncodeReport(report);
  encoded.bytes = std::make_shared<const std::string>(encoded.bytes->substr(0, encoded.bytes->size() - 1));
  const StepFigures figures = ReadFigures(encoded);
  EXPECT_TRUE(std::isnan(figures.loss));
  EXPECT_FALSE(figures.gradient_is_finite);
}

TEST(ConflatedPointTest, EncodesARangeWithItsLastReport) {
  v1::StepReport report;
  report.set_step(19);
  report.set_loss(4);
  ConflatedRange range{.steps = {.first = 10, .last = 19}, .loss = {}, .grad_norm = {}};
  for (const double loss : {3.0, double{NAN}, 5.0}) range.loss.Add(loss, false);
  range.non_finite_steps = 1;
  const auto response = ParseResponse(*EncodePoint(2, range, *EncodeReport(report).bytes));
  ASSERT_EQ(response.points_size(), 1);
  const v1::ConflatedPoint& point = response.points(0);
  EXPECT_EQ(point.attempt(), 2);
  EXPECT_EQ(point.first_step(), 10);
  EXPECT_EQ(point.last_step(), 19);
  EXPECT_EQ(point.loss_min(), 3);
  EXPECT_EQ(point.loss_max(), 5);
  EXPECT_FALSE(point.has_grad_norm_min() || point.has_grad_norm_max()) << "no gradient had a norm";
  EXPECT_EQ(point.non_finite_steps(), 1);
  EXPECT_EQ(point.last().loss(), 4);
  EXPECT_FALSE(ParseResponse(*EncodePoint(2, range, "")).points(0).has_last());
}

}  // namespace
}  // namespace gradwatch::server
