#include "core/optim/schedule.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "core/optim/optimizer.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;

// The schedule of rate 0.5 that `text`, a ScheduleSpec, describes.
Schedule Make(const std::string& text, int64_t job_steps = 100, const std::string& options = "") {
  v1::OptimizerSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "learning_rate: 0.5 " + options + " schedule { " + text + " }", &spec));
  EXPECT_THAT(ValidateOptimizer(spec), IsOk()) << text;
  return Schedule(spec, job_steps);
}

TEST(ScheduleTest, ClosedForms) {
  const double pi = std::numbers::pi;
  const struct {
    const char* text;
    int64_t step;
    double rate;
  } cases[] = {
      {"", 0, 0.5},
      {"", 1'000'000'000'000, 0.5},
      {"warmup_steps: 0", 0, 0.5},
      {"warmup_steps: 1", 0, 0.5},
      {"warmup_steps: 4", 0, 0.125},
      {"warmup_steps: 4", 2, 0.375},
      {"warmup_steps: 4", 3, 0.5},
      {"warmup_steps: 4", 4, 0.5},
      {"method: METHOD_STEP period: 10", 9, 0.5},
      {"method: METHOD_STEP period: 10", 10, 0.05},
      {"method: METHOD_STEP period: 10 gamma: 0.5", 39, 0.0625},
      {"method: METHOD_STEP period: 10 gamma: 0.5 warmup_steps: 5", 14, 0.5},
      {"method: METHOD_STEP period: 10 gamma: 0.5 warmup_steps: 5", 15, 0.25},
      {"method: METHOD_STEP period: 1 gamma: 1", 99, 0.5},
      {"method: METHOD_EXPONENTIAL gamma: 0.5", 0, 0.5},
      {"method: METHOD_EXPONENTIAL gamma: 0.5", 3, 0.0625},
      {"method: METHOD_EXPONENTIAL gamma: 0.5 warmup_steps: 2", 0, 0.25},
      {"method: METHOD_EXPONENTIAL gamma: 0.5 warmup_steps: 2", 5, 0.0625},
      {"method: METHOD_COSINE", 0, 0.5},
      {"method: METHOD_COSINE", 50, 0.25},
      {"method: METHOD_COSINE", 99, 0.25 * (1 + std::cos(0.99 * pi))},
      {"method: METHOD_COSINE", 100, 0},
      {"method: METHOD_COSINE final_rate: 0.1", 25, 0.1 + 0.2 * (1 + std::sqrt(0.5))},
      {"method: METHOD_COSINE final_rate: 0.1", 12345, 0.1},
      {"method: METHOD_COSINE final_rate: 0.5", 50, 0.5},
      {"method: METHOD_COSINE warmup_steps: 20", 19, 0.5},
      {"method: METHOD_COSINE warmup_steps: 20", 20, 0.5},
      {"method: METHOD_COSINE warmup_steps: 20", 60, 0.25},
      {"method: METHOD_COSINE warmup_steps: 100", 99, 0.5},
      {"method: METHOD_COSINE warmup_steps: 100", 100, 0},
      {"method: METHOD_COSINE warmup_steps: 500", 250, 0.5 * 251 / 500},
      {"method: METHOD_COSINE horizon: 10", 5, 0.25},
      {"method: METHOD_COSINE horizon: 1", 0, 0.5},
      {"method: METHOD_COSINE horizon: 1", 1, 0},
      {"method: METHOD_INVERSE_SQRT", 0, 0.5},
      {"method: METHOD_INVERSE_SQRT", 24, 0.1},
      {"method: METHOD_INVERSE_SQRT warmup_steps: 4", 1, 0.25},
      {"method: METHOD_INVERSE_SQRT warmup_steps: 4", 3, 0.5},
      {"method: METHOD_INVERSE_SQRT warmup_steps: 4", 15, 0.25},
      {"method: METHOD_ONE_CYCLE", 0, 0.02},
      {"method: METHOD_ONE_CYCLE", 29, 0.5},
      {"method: METHOD_ONE_CYCLE", 99, 0.02 / 1e4},
      {"method: METHOD_ONE_CYCLE", 100, 0.02 / 1e4},
      {"method: METHOD_ONE_CYCLE rise_fraction: 0.5 horizon: 41 start_divisor: 5", 0, 0.1},
      {"method: METHOD_ONE_CYCLE rise_fraction: 0.5 horizon: 42 start_divisor: 5", 10, 0.3},
      {"method: METHOD_ONE_CYCLE rise_fraction: 0", 99, 0.02 / 1e4},
      {"method: METHOD_ONE_CYCLE rise_fraction: 1", 99, 0.5},
      {"method: METHOD_ONE_CYCLE rise_fraction: 1", 1000, 0.5},
      {"method: METHOD_ONE_CYCLE horizon: 1", 0, 0.02 / 1e4},
      // The top lies on the first step, where PyTorch divides by zero.
      {"method: METHOD_ONE_CYCLE horizon: 10 rise_fraction: 0.1", 0, 0.5},
      {"method: METHOD_PLATEAU", 5, 0.5},
      {"method: METHOD_PLATEAU warmup_steps: 10", 4, 0.25},
  };
  for (const auto& c : cases) {
    EXPECT_NEAR(Make(c.text).RateAt(c.step), c.rate, 1e-15) << c.text << " at " << c.step;
  }
}

TEST(ScheduleTest, OneCycleDrivesTheMomentumTheOtherWay) {
  const char* const cycle = "method: METHOD_ONE_CYCLE";
  const Schedule schedule = Make(cycle, 100, "momentum: 0.9");
  EXPECT_DOUBLE_EQ(*schedule.MomentumAt(0), 0.95);
  EXPECT_DOUBLE_EQ(*schedule.MomentumAt(29), 0.85);
  EXPECT_DOUBLE_EQ(*schedule.MomentumAt(99), 0.95);
  EXPECT_DOUBLE_EQ(*schedule.MomentumAt(1000), 0.95);
  EXPECT_TRUE(Make(cycle, 100, "method: OPTIMIZER_METHOD_ADAM").MomentumAt(0).has_value());
  EXPECT_FALSE(Make(cycle).MomentumAt(0).has_value()) << "there is no momentum";
  EXPECT_FALSE(Make("method: METHOD_ONE_CYCLE cycle_momentum: false", 100, "momentum: 0.9").MomentumAt(0).has_value());
  EXPECT_FALSE(Make("", 100, "momentum: 0.9").MomentumAt(0).has_value());
}

// The rates after each of these losses.
std::vector<double> Rates(Schedule schedule, const std::vector<double>& losses) {
  std::vector<double> rates;
  for (const double loss : losses) {
    schedule.ObserveLoss(loss);
    rates.push_back(schedule.RateAt(0));
  }
  return rates;
}

TEST(PlateauTest, LowersTheRateWhenPatienceIsOver) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::string two = "method: METHOD_PLATEAU gamma: 0.5 period: 2 ";
  const struct {
    std::string text;
    std::vector<double> losses, rates;
  } cases[] = {
      {two, {1, 1, 1, 1, 1, 1, 1}, {.5, .5, .5, .25, .25, .25, .125}},
      {two, {1, 1, 1, .5, .5, .5, .5}, {.5, .5, .5, .5, .5, .5, .25}},
      // Better by less than the threshold is not better.
      {two + "threshold: 0.1", {1, .95, .92, .91, .8}, {.5, .5, .5, .25, .25}},
      {two + "threshold: 0", {1, .95, .92, .91, .9}, {.5, .5, .5, .5, .5}},
      {two + "cooldown: 2", {1, 1, 1, 1, 1, 1, 1, 1, 1}, {.5, .5, .5, .25, .25, .25, .25, .25, .125}},
      {two + "final_rate: 0.2", {1, 1, 1, 1, 1, 1, 1}, {.5, .5, .5, .25, .25, .25, .2}},
      // What is not finite is no improvement and does not become the best.
      {two, {1, nan, nan, nan, .9, infinity, .8}, {.5, .5, .5, .25, .25, .25, .25}},
      {two, {1, -infinity, .9, .8, .7}, {.5, .5, .5, .5, .5}},
      {two, {nan, nan, nan, 1, .9}, {.5, .5, .25, .25, .25}},
      {two + "average_steps: 2", {1, 3, 2, 2, 3, 1, 0, 4}, {.5, .5, .5, .5, .5, .5, .5, .25}},
      {two + "average_steps: 2", {1, 3, 2, nan, 1, 1, 0, 1}, {.5, .5, .5, .5, .5, .5, .5, .5}},
      {"", {1, 1, 1, 1, 1, 1, 1}, {.5, .5, .5, .5, .5, .5, .5}},
  };
  for (const auto& c : cases) EXPECT_EQ(Rates(Make(c.text), c.losses), c.rates) << c.text;
}

TEST(PlateauTest, GoesOnFromARestoredState) {
  Schedule first = Make("method: METHOD_PLATEAU period: 2 average_steps: 3"), second = first;
  for (int i = 0; i < 8; ++i) first.ObserveLoss(1);
  second.plateau().Restore(first.plateau().state());
  for (int i = 8; i < 40; ++i) {
    first.ObserveLoss(1);
    second.ObserveLoss(1);
    ASSERT_EQ(first.RateAt(i), second.RateAt(i));
  }
  EXPECT_LT(first.RateAt(40), 0.01);
}

}  // namespace
}  // namespace gradwatch::core
