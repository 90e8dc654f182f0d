#include "core/nn/loss_function.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::unique_ptr<LossFunction<float>> Make(v1::LossFunction function, double delta = 1) {
  v1::Loss spec;
  spec.set_function(function);
  if (function == v1::LOSS_FUNCTION_HUBER) spec.set_delta(delta);
  auto loss = MakeLossFunction<float>(spec, DataShape::Target::kProbabilities);  // which are values too
  EXPECT_THAT(loss, IsOk());
  return *std::move(loss);
}

// Of one output; its derivative goes to `slope`.
double Of(const LossFunction<float>& loss, float output, float target, float* slope) {
  Batch batch;
  batch.size = 1;
  batch.values = {&target, 1};
  const double value = loss.Mean(1, 1, &output, batch, slope);
  EXPECT_TRUE(value == loss.Mean(1, 1, &output, batch, nullptr) || std::isnan(value));
  return value;
}

TEST(BinaryCrossEntropyTest, IsStableAtTheExtremes) {
  const auto loss = Make(v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY);
  struct Case {
    float output, target;
    double loss, slope;
  };
  for (const Case& c : {Case{0, 1, std::log(2.0), -0.5},
                        {0, 0, std::log(2.0), 0.5},
                        {1e4f, 1, 0, 0},
                        {1e4f, 0, 1e4, 1},
                        {-1e4f, 1, 1e4, -1},
                        {-1e4f, 0, 0, 0},
                        {-20, 0, std::log1p(std::exp(-20.0)), 1 / (1 + std::exp(20.0))},
                        {2, 0.25, std::log1p(std::exp(2.0)) - 0.5, 1 / (1 + std::exp(-2.0)) - 0.25}}) {
    SCOPED_TRACE(c.output);
    float slope = 9;
    EXPECT_NEAR(Of(*loss, c.output, c.target, &slope), c.loss, 4e-7 * c.loss);
    EXPECT_NEAR(slope, c.slope, 1e-7 * std::abs(c.slope));
  }
  float slope = 0;
  EXPECT_TRUE(std::isnan(Of(*loss, std::numeric_limits<float>::quiet_NaN(), 1, &slope)));
  EXPECT_TRUE(std::isnan(slope));
  EXPECT_EQ(Of(*loss, std::numeric_limits<float>::infinity(), 0, &slope), kInfinity);
  EXPECT_EQ(Of(*loss, -std::numeric_limits<float>::infinity(), 1, &slope), kInfinity);
  EXPECT_EQ(slope, -1);
}

TEST(BinaryCrossEntropyTest, CountsRowsThatAreRight) {
  const auto loss = Make(v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY);
  const std::vector<float> outputs = {0.1f, -3, 2, 2, -1, -1, 0, 5}, targets = {1, 0, 1, 0.2f, 0, 0, 0.4f, 0.6f};
  Batch batch;
  batch.values = targets;
  batch.size = 8;
  EXPECT_EQ(loss->Correct(8, 1, outputs.data(), batch), 7);
  batch.size = 4;
  EXPECT_EQ(loss->Correct(4, 2, outputs.data(), batch), 3);
}

TEST(SoftmaxCrossEntropyTest, CountsRowsThatAreRight) {
  v1::Loss spec;
  spec.set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  const auto loss = *MakeLossFunction<float>(spec, DataShape::Target::kClasses);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  struct Case {
    std::vector<float> row;
    int right;  // -1: no class
  };
  for (const Case& c : {Case{{1, 3, 2}, 1},
                        {{2, 1, 2}, 0},
                        {{1, 2, 2}, 1},
                        {{-inf, -inf, -5}, 2},
                        {{0, inf, 1}, 1},
                        // What is no number predicts nothing, or a broken network would be right in its first class.
                        {{nan, nan, nan}, -1},
                        {{nan, 1, 2}, -1},
                        {{3, 1, nan}, -1}}) {
    for (int32_t target = 0; target < 3; ++target) {
      Batch batch;
      batch.size = 1;
      batch.classes = {&target, 1};
      EXPECT_EQ(loss->Correct(1, 3, c.row.data(), batch), target == c.right ? 1 : 0) << c.row[0] << " " << target;
    }
  }
}

TEST(BinaryCrossEntropyTest, WhatIsNoNumberPredictsNothing) {
  const auto loss = Make(v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY);
  const std::vector<float> outputs(2, std::numeric_limits<float>::quiet_NaN()), targets = {0, 1};
  Batch batch;
  batch.values = targets;
  batch.size = 2;
  EXPECT_EQ(loss->Correct(2, 1, outputs.data(), batch), 0);
}

TEST(MakeLossFunctionTest, ANumberThatTheLossDoesNotReadIsRefused) {
  for (const auto function : {v1::LOSS_FUNCTION_SQUARED_ERROR, v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY}) {
    v1::Loss spec;
    spec.set_function(function);
    spec.set_delta(2);
    EXPECT_THAT(MakeLossFunction<float>(spec, DataShape::Target::kValues),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("delta: is only for HUBER; got 2")));
  }
}

TEST(HuberTest, IsASquareWithinDeltaAndALineBeyond) {
  const auto loss = Make(v1::LOSS_FUNCTION_HUBER, 0.5);
  struct Case {
    float output, target;
    double loss, slope;
  };
  for (const Case& c : {Case{1, 1, 0, 0},
                        {1.25f, 1, 0.03125, 0.25},
                        {0.5f, 1, 0.125, -0.5},
                        {3, 1, 0.875, 0.5},
                        {-1, 1, 0.875, -0.5},
                        {3e38f, 0, 1.5e38, 0.5}}) {
    SCOPED_TRACE(c.output);
    float slope = 9;
    EXPECT_NEAR(Of(*loss, c.output, c.target, &slope), c.loss, 1e-6 * c.loss);
    EXPECT_EQ(slope, static_cast<float>(c.slope));
  }
  float slope = 0;
  EXPECT_TRUE(std::isnan(Of(*loss, std::numeric_limits<float>::quiet_NaN(), 1, &slope)));
  EXPECT_TRUE(std::isnan(slope));
  EXPECT_EQ(Of(*loss, -std::numeric_limits<float>::infinity(), 1, &slope), kInfinity);
  EXPECT_EQ(slope, -0.5f);
}

}  // namespace
}  // namespace gradwatch::core
