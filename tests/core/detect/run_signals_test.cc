#include "core/detect/run_signals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A run of two tensors, one of weights of norm 10 and one bias.
class RunSignalsTest : public ::testing::Test {
 protected:
  RunSignalsTest() { record_.tensors.resize(2); }

  void Step(double loss, double norm = 1, double ratio = 0.001) {
    record_.loss = loss;
    record_.grad_norm = norm;
    record_.tensors[0].weight_norm = 10;
    record_.tensors[0].update_norm = 10 * ratio;
    signals_.BeginStep(record_);
    signals_.EndGradients(record_);
    signals_.ObserveUpdate(record_);
    signals_.EndUpdate(record_);
    ++record_.step;
  }

  StepRecord record_;
  RunSignals signals_{{"dense.weight", "dense.bias"}};
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

TEST_F(RunSignalsTest, TheBestLossIsTheLowestMedianOfFiftyAndNeverRises) {
  Random random(3, RandomStream::kSyntheticData, 0);
  std::vector<double> logs;
  double lowest = kInfinity;
  for (int i = 0; i < 400; ++i) {
    // Falls, then climbs again; outliers on the way, both ways.
    const double level = i < 200 ? 5 * std::exp(-0.01 * i) : 5 * std::exp(-2 + 0.02 * (i - 200));
    const double loss = level * std::exp(0.1 * random.NextNormal()) * (i % 37 == 36 ? 1e6 : i % 41 == 40 ? 1e-6 : 1);
    Step(loss);
    logs.push_back(std::log(loss));
    const size_t count = std::min<size_t>(50, logs.size());
    if (logs.size() >= 5) lowest = std::min(lowest, Median({logs.end() - static_cast<long>(count), logs.end()}));
    if (logs.size() < 5) continue;
    ASSERT_NEAR(signals_.best().loss, lowest, 1e-12) << i;
  }
  EXPECT_LT(signals_.best().step, 260);
}

TEST_F(RunSignalsTest, TheDeviationIsThatOfTheNoiseAndAClimbDoesNotWidenIt) {
  Random random(4, RandomStream::kSyntheticData, 0);
  for (int i = 0; i < 2000; ++i) Step(std::exp(0.3 * random.NextNormal()), std::exp(0.5 * random.NextNormal()));
  EXPECT_NEAR(signals_.loss_deviation(), 0.3, 0.1);
  EXPECT_NEAR(signals_.norm_deviation(), 0.5, 0.17);
  const double before = signals_.loss_deviation();
  for (int i = 0; i < 200; ++i) Step(std::exp(0.1 * i));
  EXPECT_LE(signals_.loss_deviation(), before * 1.01);
}

TEST_F(RunSignalsTest, AStepThatIsNotFiniteMovesNothing) {
  for (int i = 0; i < 60; ++i) Step(2, 3);
  struct {
    double loss, norm;
    int64_t nans;
  } const steps[] = {{kInfinity, 3, 0}, {NAN, 3, 0}, {2, kInfinity, 0}, {2, 3, 1}};
  for (const auto& step : steps) {
    record_.nan_count = step.nans;
    Step(step.loss, step.norm, 1000);
    EXPECT_FALSE(signals_.finite());
  }
  record_.nan_count = 0;
  EXPECT_EQ(signals_.losses(), 60);
  EXPECT_EQ(signals_.norms(), 60);
  EXPECT_EQ(signals_.last_finite().step, 59);
  EXPECT_EQ(signals_.last_update().step, 59);
  EXPECT_NEAR(signals_.update_ratio(), 0.001, 1e-12);
  EXPECT_EQ(signals_.usual_norms().usual().Quantile(1), std::log(3.0));
}

TEST_F(RunSignalsTest, LossesThatAreNotAboveZeroAreMeasuredByTheFirstOne) {
  Step(-4);
  EXPECT_EQ(signals_.loss_era(), 1);
  EXPECT_NEAR(signals_.LossOf(signals_.loss()), -4, 1e-12);
  EXPECT_NEAR(signals_.loss(), -std::asinh(1.0), 1e-12);
  RunSignals later({"w"});
  StepRecord record;
  for (const double loss : {2.0, 1.0, 0.5, -0.5}) {
    record.loss = loss;
    record.grad_norm = 1;
    later.BeginStep(record);
    later.EndGradients(record);
  }
  EXPECT_EQ(later.loss_era(), 1);
  EXPECT_EQ(later.losses(), 1);
  EXPECT_NEAR(later.loss(), -std::asinh(0.25), 1e-12);
  EXPECT_NEAR(later.LossOf(later.loss()), -0.5, 1e-12);
}

// Of a run whose losses lie around 0 the first may be near 0 by chance.
TEST_F(RunSignalsTest, AFirstLossNearZeroIsNotTheScaleForLong) {
  for (const double loss : {1e-6, -2.0, 3.0, -1.0, 4.0}) Step(loss);
  EXPECT_EQ(signals_.losses(), 1) << "of the scale that counts";
  EXPECT_NEAR(signals_.loss(), std::asinh(4.0 / 2), 1e-12);
  EXPECT_NEAR(signals_.LossOf(signals_.loss()), 4, 1e-12);
}

TEST_F(RunSignalsTest, TheStartIsNoOutlier) {
  for (const double loss : {2.0, 2.5, 1e9, 2.2, 2.4}) Step(loss);
  EXPECT_NEAR(signals_.LossOf(signals_.start_loss()), 2.4, 1e-9);  // of 2, 2.2, 2.4 and 2.5: the upper middle one
}

TEST_F(RunSignalsTest, ABiasThatStartsAtZeroIsNoLargeUpdateAndABiasIsNoWeight) {
  record_.tensors[1].weight_norm = 1e-3;
  record_.tensors[1].update_norm = 1;
  Step(1);
  EXPECT_EQ(signals_.last_update().tensor, 0);
  RunSignals nameless({"a", "b"});  // no name tells a weight
  record_.tensors[1].weight_norm = 0;
  const auto step = [&] {
    nameless.BeginStep(record_);
    nameless.EndGradients(record_);
    nameless.ObserveUpdate(record_);
    nameless.EndUpdate(record_);
    ++record_.step;
  };
  step();
  record_.tensors[1].weight_norm = 1e-3;
  for (int i = 0; i < 99; ++i) {
    step();
    ASSERT_EQ(nameless.last_update().tensor, 0) << i;
  }
  step();
  EXPECT_EQ(nameless.last_update().tensor, 1);
  EXPECT_NEAR(nameless.update_ratio(), 1000, 1e-9);
}

TEST_F(RunSignalsTest, ABrokenUpdateIsLargerThanAny) {
  RunSignals two({"a.weight", "b.weight"});
  for (const double broken : {double{NAN}, kInfinity}) {
    record_.tensors[0].weight_norm = record_.tensors[1].weight_norm = 1;
    record_.tensors[0].update_norm = broken;
    record_.tensors[1].update_norm = 0.1;
    two.BeginStep(record_);
    two.EndGradients(record_);
    two.ObserveUpdate(record_);
    two.EndUpdate(record_);
    EXPECT_EQ(two.last_update().tensor, 0);
    EXPECT_FALSE(std::isfinite(two.last_update().ratio));
    EXPECT_TRUE(std::isnan(two.update_ratio())) << "and moves nothing";
    ++record_.step;
  }
}

TEST_F(RunSignalsTest, WhatIsNotMeasuredIsNotKnown) {
  Step(1);
  EXPECT_NEAR(signals_.update_ratio(), 0.001, 1e-12);
  record_.level = v1::STATISTICS_LEVEL_NORM;
  Step(1);
  EXPECT_TRUE(std::isnan(signals_.update_ratio()));
  EXPECT_EQ(signals_.last_update().step, 0);
}

TEST_F(RunSignalsTest, TheTopRateIsTheHighestThatStoodForTwentySteps) {
  for (int i = 0; i < 50; ++i) {  // a warm-up
    record_.learning_rate = 0.01 * (i + 1);
    Step(1);
    EXPECT_EQ(signals_.top_rate(), 0);
  }
  for (int i = 0; i < 20; ++i) Step(1);
  EXPECT_EQ(signals_.top_rate(), 0.5);
  record_.learning_rate = 0.1;
  for (int i = 0; i < 100; ++i) Step(1);
  EXPECT_EQ(signals_.top_rate(), 0.5);
}

}  // namespace
}  // namespace gradwatch::core
