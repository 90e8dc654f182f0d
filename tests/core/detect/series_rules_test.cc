// What the conditions about the course of a series judge, against independent calculations, and what they say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/detect/moments.h"
#include "tests/core/detect/detector_harness.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::OneRule;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using SeriesSpec = v1::SeriesCondition;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLargest = std::numeric_limits<double>::max();
constexpr int kRecurrent = 1, kDenseWeight = 3;

// A set with just this rule, which resolves with the first quiet step.
v1::RuleSet JustOne() {
  v1::RuleSet rules = OneRule(1, 1);
  rules.set_preset("none");
  return rules;
}

v1::RuleSet SeriesRule(SeriesSpec::Series series, SeriesSpec::Baseline baseline, int window) {
  v1::RuleSet rules = JustOne();
  SeriesSpec* condition = rules.mutable_rules(0)->mutable_series();
  condition->set_series(series);
  condition->set_baseline(baseline);
  condition->set_window(window);
  return rules;
}

SeriesSpec* Condition(v1::RuleSet* rules) { return rules->mutable_rules(0)->mutable_series(); }

v1::RuleSet DriftRule(double slack, double limit, int baseline_steps) {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_drift()->set_slack(slack);
  rules.mutable_rules(0)->mutable_drift()->set_limit(limit);
  rules.mutable_rules(0)->mutable_drift()->set_baseline_steps(baseline_steps);
  return rules;
}

v1::RuleSet NoProgressRule(int window, double min_gain) {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_no_progress()->set_window(window);
  rules.mutable_rules(0)->mutable_no_progress()->set_min_gain(min_gain);
  return rules;
}

v1::RuleSet ClippingRule() {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_clipping();
  return rules;
}

std::string Diagnosis(const v1::Alert& alert) { return absl::StrJoin(alert.diagnosis(), "\n"); }

// A detector whose one rule says on every step whether it holds, fires and resolves at once, and what it judged by.
class Judge {
 public:
  explicit Judge(const v1::RuleSet& rules) : harness_(rules) {}

  DetectorHarness& harness() { return harness_; }
  // Runs the step that is in the harness. Whether the rule holds, as of the last step that it could judge.
  bool Step() {
    for (v1::Alert& alert : harness_.Step()) {
      holds_ = alert.state() == v1::ALERT_STATE_FIRING;
      if (holds_) alert_ = std::move(alert);
    }
    return holds_;
  }
  bool Loss(double loss) {
    harness_.record().loss = loss;
    return Step();
  }
  bool Norm(double norm) {
    harness_.SetNorm(norm);
    return Step();
  }
  // The last one that fired.
  const v1::Alert& alert() const { return alert_; }

 private:
  DetectorHarness harness_;
  bool holds_ = false;
  v1::Alert alert_;
};

// Mean and deviation of the last `window` of these, in two passes.
struct TwoPass {
  TwoPass(const std::vector<double>& values, size_t window) {
    const size_t first = values.size() - std::min(window, values.size());
    long double sum = 0, squares = 0;
    for (size_t i = first; i < values.size(); ++i) sum += values[i];
    const auto count = static_cast<long double>(values.size() - first);
    const long double exact = sum / count;
    for (size_t i = first; i < values.size(); ++i) squares += (values[i] - exact) * (values[i] - exact);
    mean = static_cast<double>(exact);
    deviation = static_cast<double>(std::sqrt(squares / count));
  }
  double mean, deviation;
};

// Losses about `level` among which one in fifty is odd by up to ten orders of magnitude.
std::vector<double> OddLosses(int count, double level) {
  Random random(11, RandomStream::kSyntheticData, 0);
  std::vector<double> losses;
  for (int i = 0; i < count; ++i) {
    const double noise = random.NextNormal();
    losses.push_back(level + (i % 50 == 17 ? std::pow(10, 10 * random.NextUniform()) : noise));
  }
  return losses;
}

TEST(SeriesTest, MeanAndDeviationAreThoseOfTheLastValues) {
  constexpr double kDeviations = 2.5;
  for (const double level : {0.0, 1e6}) {
    for (const int window : {1, 2, 10, 137, 3'000}) {
      v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MEAN, window);
      Condition(&rules)->set_max_deviations(kDeviations);
      Judge judge(rules);
      std::vector<double> seen;
      int held = 0;
      bool before = false;
      for (const double loss : OddLosses(10'000, level)) {
        const bool holds = judge.Loss(loss);
        if (static_cast<int>(seen.size()) < window) {
          ASSERT_FALSE(holds);
        } else {
          const TwoPass exact(seen, window);
          const double limit = exact.mean + kDeviations * exact.deviation;
          const double rounding = 1e-11 * (std::abs(exact.mean) + exact.deviation);
          if (std::abs(loss - limit) > rounding) {
            ASSERT_EQ(holds, loss > limit) << window << " " << seen.size();
          }
          if (holds && !before) {
            ASSERT_NEAR(judge.alert().limit(), limit, rounding) << window << " " << seen.size();
          }
        }
        before = holds;
        held += holds ? 1 : 0;
        seen.push_back(loss);
      }
      EXPECT_GT(held, 10) << window;
    }
  }
}

// By the definition: what is seen in the warm-up has the same weight each, what comes then 1 / window, and every value
// takes its weight from all before it.
TEST(SeriesTest, MovingMeanAndDeviationAreThoseOfTheWeights) {
  constexpr int kWindow = 20, kWarmUp = 5;
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MOVING, kWindow);
  Condition(&rules)->set_warm_up(kWarmUp);
  Condition(&rules)->set_max_deviations(0.5);
  Judge judge(rules);
  const std::vector<double> losses = OddLosses(1'500, 3);
  int compared = 0;
  bool before = false;
  for (size_t n = 0; n < losses.size(); ++n) {
    const bool holds = judge.Loss(losses[n]);
    ASSERT_TRUE(n >= kWarmUp || !holds);
    if (holds && !before) {
      std::vector<double> weights(n, 1.0 / kWarmUp);
      for (size_t i = 0; i < n; ++i) {
        if (i >= kWarmUp) weights[i] = 1.0 / kWindow;
        weights[i] *= std::pow(1 - 1.0 / kWindow, static_cast<double>(n - std::max<size_t>(i + 1, kWarmUp)));
      }
      double mean = 0, variance = 0;
      for (size_t i = 0; i < n; ++i) mean += weights[i] * losses[i];
      for (size_t i = 0; i < n; ++i) variance += weights[i] * (losses[i] - mean) * (losses[i] - mean);
      ASSERT_NEAR(judge.alert().limit(), mean + 0.5 * std::sqrt(variance), 1e-9 * std::abs(judge.alert().limit())) << n;
      ++compared;
    }
    before = holds;
  }
  EXPECT_GT(compared, 10);
}

TEST(SeriesTest, OneLimitAboveTheLargestOfTheFirst) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_FIRST_LARGEST, 3);
  Condition(&rules)->set_factor(10);
  Judge judge(rules);
  for (const double loss : {2.0, 4.0, 3.0}) EXPECT_FALSE(judge.Loss(loss));
  EXPECT_FALSE(judge.Loss(40));
  EXPECT_TRUE(judge.Loss(std::nextafter(40, 41)));
  EXPECT_EQ(judge.alert().limit(), 40);
  EXPECT_EQ(judge.alert().summary(), "the loss is 40, above the limit 40 since step 4");
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("It is 10 times the largest of the first 3, 4."));
  EXPECT_FALSE(judge.Loss(39));  // the baseline stays
}

TEST(SeriesTest, OneLimitAboveTheLowest) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_LOWEST, 5);
  Condition(&rules)->set_warm_up(2);
  Condition(&rules)->set_factor(3);
  Judge judge(rules);
  for (const double loss : {8.0, 100.0}) EXPECT_FALSE(judge.Loss(loss)) << "warm-up";
  const struct {
    double loss;
    bool holds;
  } steps[] = {{25, true}, {24, false}, {1, false}, {3, false}, {3.01, true}, {0.5, false}, {2, true}, {1.5, false}};
  for (const auto& step : steps) EXPECT_EQ(judge.Loss(step.loss), step.holds) << step.loss;
}

TEST(SeriesTest, EveryLimitMustBeExceeded) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MEAN, 2);
  Condition(&rules)->set_factor(2);
  Condition(&rules)->set_max_deviations(10);
  Condition(&rules)->set_limit(7);
  const struct {
    double first, second, loss, limit;  // the largest of 2 mean, mean + 10 deviations, 7
  } cases[] = {{1, 1, 6.9, 7}, {1, 1, 7.1, 7}, {3, 5, 13, 14}, {3, 5, 14.5, 14}, {9, 9, 17, 18}, {9, 9, 18.1, 18}};
  for (const auto& c : cases) {
    Judge judge(rules);
    judge.Loss(c.first);
    judge.Loss(c.second);
    EXPECT_EQ(judge.Loss(c.loss), c.loss > c.limit) << c.loss;
    if (c.loss > c.limit) {
      EXPECT_DOUBLE_EQ(judge.alert().limit(), c.limit);
    }
  }
}

TEST(SeriesTest, WithoutABaselineOnlyTheLimitIsReadFromTheFirstStep) {
  v1::RuleSet rules = JustOne();
  Condition(&rules)->set_limit(5);
  Judge judge(rules);
  EXPECT_TRUE(judge.Loss(5.1));
  EXPECT_FALSE(judge.Loss(5));
  EXPECT_FALSE(judge.Loss(-100));
}

// Whatever is not finite holds at once, and is never part of the baseline.
TEST(SeriesTest, WhatIsNotFiniteIsAboveEveryLimitAndLeavesNoTrace) {
  for (const auto baseline : {SeriesSpec::BASELINE_MEAN, SeriesSpec::BASELINE_MOVING,
                              SeriesSpec::BASELINE_FIRST_LARGEST, SeriesSpec::BASELINE_LOWEST}) {
    for (const double broken : {double{NAN}, kInfinity, -kInfinity}) {
      v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, baseline, 10);
      Condition(&rules)->set_factor(3);
      Judge judge(rules), whole(rules);
      EXPECT_TRUE(judge.Loss(broken)) << "before the warm-up";
      EXPECT_THAT(judge.alert().summary(), HasSubstr("above every limit"));
      // The alert stays as it was while nothing can be judged.
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(judge.Loss(1 + 0.1 * i));
      for (int i = 0; i < 10; ++i) EXPECT_FALSE(whole.Loss(1 + 0.1 * i));
      EXPECT_FALSE(judge.Loss(1.5));
      EXPECT_FALSE(whole.Loss(1.5));
      EXPECT_TRUE(judge.Loss(broken));
      EXPECT_FALSE(judge.Loss(1.4));
      EXPECT_FALSE(whole.Loss(1.4));
      EXPECT_TRUE(judge.Loss(10));
      EXPECT_TRUE(whole.Loss(10));
      EXPECT_EQ(judge.alert().limit(), whole.alert().limit()) << baseline;
    }
  }
}

TEST(SeriesTest, ValuesMayBeOfAnySize) {
  for (const auto baseline : {SeriesSpec::BASELINE_MEAN, SeriesSpec::BASELINE_MOVING}) {
    v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, baseline, 4);
    Condition(&rules)->set_max_deviations(0.5);
    Judge judge(rules);
    for (const double loss : {kLargest, -kLargest, kLargest, -kLargest}) EXPECT_FALSE(judge.Loss(loss));
    EXPECT_TRUE(judge.Loss(kLargest));  // mean 0, deviation the largest double
    EXPECT_GT(judge.alert().limit(), 0.4 * kLargest);
    EXPECT_LT(judge.alert().limit(), 0.6 * kLargest);
    for (int i = 0; i < 4; ++i) judge.Loss(1e-300 * i);
    if (baseline == SeriesSpec::BASELINE_MEAN) {
      // What has left the window has left nothing behind: 1.5e-300 + 0.5 * 1.118e-300.
      EXPECT_FALSE(judge.Loss(2.05e-300));
    }
  }
}

TEST(SeriesTest, AConstantSeriesIsQuietAndTheLeastRiseOfItIsNot) {
  for (const auto baseline : {SeriesSpec::BASELINE_MEAN, SeriesSpec::BASELINE_MOVING}) {
    v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, baseline, 7);
    Condition(&rules)->set_max_deviations(6);
    Judge judge(rules);
    for (int i = 0; i < 1'000; ++i) ASSERT_FALSE(judge.Loss(0.1)) << i;
    EXPECT_TRUE(judge.Loss(0.1 + 1e-12));
  }
}

TEST(SeriesTest, WhatWasAboveIsKeptOutIfAskedFor) {
  for (const bool keep_out : {false, true}) {
    v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MEAN, 10);
    Condition(&rules)->set_factor(3);
    Condition(&rules)->set_keep_out(keep_out);
    Judge judge(rules);
    for (int i = 0; i < 10; ++i) judge.Loss(1);
    int held = 0;
    for (int i = 0; i < 100; ++i) held += judge.Loss(10) ? 1 : 0;
    // The mean of k tens and 10 - k ones is 1 + 0.9 k: a third of 10 is reached with the third of them.
    EXPECT_EQ(held, keep_out ? 100 : 3);
  }
}

// A multiple of what is below 0 lies above it.
TEST(SeriesTest, BaselinesBelowZeroHaveLimitsAboveThem) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_LOWEST, 1);
  Condition(&rules)->set_factor(1.5);
  Judge judge(rules);
  for (const double loss : {-4.0, -4.0, -3.0, -2.0}) EXPECT_FALSE(judge.Loss(loss)) << loss;
  EXPECT_TRUE(judge.Loss(-1.9));
}

TEST(SeriesTest, ANormWithABrokenElementIsBroken) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_GRAD_NORM, SeriesSpec::BASELINE_UNSPECIFIED, 1);
  Condition(&rules)->set_limit(100);
  Judge judge(rules);
  judge.harness().SetTensorNorm(kRecurrent, 101);
  EXPECT_TRUE(judge.Step());
  EXPECT_EQ(judge.alert().tensor(), "rnn0.weight_hh");
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("largest in rnn0.weight_hh"));
  EXPECT_FALSE(judge.Norm(99));
  judge.harness().BreakTensor(0);
  EXPECT_TRUE(judge.Step());
  EXPECT_TRUE(std::isnan(judge.alert().value()));
  EXPECT_FALSE(judge.Norm(99));
  judge.harness().record().pos_inf_count = 1;
  EXPECT_TRUE(judge.Step());
  EXPECT_EQ(judge.alert().value(), kInfinity);
}

TEST(SeriesTest, UpdatesAreJudgedOnTheirOwnStepAndOnlyWhereTheyAreMeasured) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_UPDATE_RATIO, SeriesSpec::BASELINE_UNSPECIFIED, 1);
  Condition(&rules)->set_limit(0.2);
  Judge judge(rules);
  judge.harness().tensor(kDenseWeight).update_norm = 2.5;
  EXPECT_TRUE(judge.Step());
  EXPECT_EQ(judge.alert().step(), 0);
  EXPECT_EQ(judge.alert().tensor(), "dense1.weight");
  EXPECT_EQ(judge.alert().value(), 0.25);
  EXPECT_THAT(judge.alert().summary(), HasSubstr("the update of dense1.weight, as a multiple of its weights, is 0.25"));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("gradwatch adjust job --lr-scale 0.1"));
  judge.harness().record().level = v1::STATISTICS_LEVEL_NORM;
  EXPECT_TRUE(judge.Step()) << "not measured";
  judge.harness().record().level = v1::STATISTICS_LEVEL_FULL;
  judge.harness().clip().action = v1::ClipOutcome::ACTION_SKIPPED;
  EXPECT_TRUE(judge.Step()) << "skipped";
  EXPECT_FALSE(judge.Step());
}

// The rate is blamed where the update before was unusual, and only there.
TEST(SeriesTest, BlamesTheRateOnlyForAnUnusualUpdate) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MEAN, 10);
  Condition(&rules)->set_factor(3);
  Judge judge(rules);
  judge.harness().HealthySteps(60);
  EXPECT_TRUE(judge.Loss(30));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("look at the data of this step"));
  judge.harness().HealthySteps(60);
  judge.harness().tensor(kDenseWeight).update_norm = 3;
  judge.Step();
  EXPECT_TRUE(judge.Loss(30));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("changed dense1.weight by 0.3 of its norm"));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("the learning rate 0.5 is likely too high"));
}

// As everywhere else: an update that came from a large gradient is not the rate's fault, nor is one of long ago.
TEST(SeriesTest, ExplainsTheUpdateAsOtherRulesDo) {
  v1::RuleSet rules = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MEAN, 10);
  Condition(&rules)->set_factor(3);
  for (const int unmeasured : {0, 100}) {
    Judge judge(rules);
    judge.harness().HealthySteps(60);
    judge.harness().tensor(kDenseWeight).update_norm = 3;
    judge.Norm(50);
    for (int i = 0; i < unmeasured; ++i) {
      judge.harness().record().level = v1::STATISTICS_LEVEL_NORM;
      judge.Step();
    }
    judge.harness().record().level = v1::STATISTICS_LEVEL_NORM;
    EXPECT_TRUE(judge.Loss(30));
    EXPECT_THAT(Diagnosis(judge.alert()), Not(HasSubstr("likely too high")));
    if (unmeasured > 0) {
      EXPECT_THAT(Diagnosis(judge.alert()), Not(HasSubstr("changed dense1.weight"))) << "an update of long ago";
      EXPECT_THAT(Diagnosis(judge.alert()), Not(HasSubstr("The update before was no larger than usual")));
    } else {
      EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("its gradient norm was "));
    }
  }
}

TEST(SeriesTest, SaysSinceWhichStepAsItsAlertDoes) {
  v1::RuleSet rules = JustOne();
  Condition(&rules)->set_limit(10);
  rules.mutable_rules(0)->set_for_steps(2);
  rules.mutable_rules(0)->set_within_steps(3);
  Judge judge(rules);
  for (const double loss : {1, 1, 20, 1, 20}) judge.Loss(loss);
  EXPECT_EQ(judge.alert().first_step(), 2);
  EXPECT_THAT(judge.alert().summary(), HasSubstr("above the limit 10 since step 2"));
}

// Average run lengths of a one-sided CUSUM on standard normal numbers, by Brook and Evans' Markov chain
// (../shared/reference/algorithms.md, 2.4: +-2 %). The baseline has exactly the mean and deviation that are simulated.
TEST(DriftTest, RunLengthsAreThoseOfTheMarkovChain) {
  constexpr double kMean = 1.7, kDeviation = 0.3;
  constexpr int kBaseline = 10'000;
  const struct {
    double limit, shift, run_length;
    int trials;
  } cases[] = {{10, 1, 20.4, 2'000}, {10, 2, 7.34, 2'000}, {10, 4, 3.39, 2'000}, {5, 1, 10.38, 4'000},
               {5, 2, 4.01, 4'000},  {4, 0, 335.4, 1'000}, {4, 1, 8.38, 4'000},  {4, 4, 1.71, 4'000}};
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat("limit ", c.limit, ", shift ", c.shift));
    Judge judge(DriftRule(0.5, c.limit, kBaseline));
    const auto holds = [&judge](double z) { return judge.Norm(std::exp(kMean + kDeviation * z)); };
    for (int i = 0; i < kBaseline; ++i) ASSERT_FALSE(holds(i % 2 == 0 ? 1 : -1));
    Random random(5, RandomStream::kSyntheticData, 0);
    double sum = 0, squares = 0;
    for (int trial = 0; trial < c.trials; ++trial) {
      int steps = 1;
      while (!holds(c.shift + random.NextNormal())) ++steps;
      sum += steps;
      squares += static_cast<double>(steps) * steps;
      ASSERT_FALSE(holds(-100)) << "the sum is back at 0";
    }
    const double mean = sum / c.trials;
    const double error = std::sqrt((squares / c.trials - mean * mean) / c.trials);
    EXPECT_NEAR(mean, c.run_length, 0.02 * c.run_length + 3 * error);
  }
}

// 0.3 % a step, under noise a hundred times as large: no single step is odd.
TEST(DriftTest, SaysSinceWhenHowFarAndHowFast) {
  Judge judge(DriftRule(0.5, 10, 100));
  Random random(9, RandomStream::kSyntheticData, 0);
  int step = 0;
  bool holds = false;
  for (; step < 2'000 && !holds; ++step) {
    holds = judge.Norm(std::exp(0.3 * random.NextNormal() + 0.003 * std::max(0, step - 500)));
    ASSERT_TRUE(step >= 500 || !holds) << step;
  }
  EXPECT_TRUE(holds);
  EXPECT_LT(step, 800);  // a drift of 0.3 x 3 deviations
  EXPECT_EQ(judge.alert().limit(), 10);
  EXPECT_GT(judge.alert().value(), 10);
  EXPECT_THAT(judge.alert().summary(), HasSubstr("drifted upward since step "));
  EXPECT_THAT(judge.alert().summary(), HasSubstr("from the first 100 norms"));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("times what it was in the first 100"));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("% more a step over "));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("gradwatch adjust job --lr-scale"));
}

TEST(DriftTest, ASpikeIsSaidToBeOneAndEnds) {
  Judge judge(DriftRule(0.5, 10, 10));
  for (int i = 0; i < 10; ++i) judge.Norm(i % 2 == 0 ? 1 : 1.2);
  judge.Norm(1);
  EXPECT_TRUE(judge.Norm(1e30));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("a spike rather than a drift"));
  int steps = 1;
  while (judge.Norm(1.095) && steps < 1'000) ++steps;  // at the mean
  EXPECT_LT(steps, 25);                                // twice the limit at most, and half a deviation off a step
}

TEST(DriftTest, NormsThatHardlyVaryDoNotDriftByIt) {
  Judge judge(DriftRule(0.5, 10, 50));
  for (int i = 0; i < 5'000; ++i) ASSERT_FALSE(judge.Norm(i < 50 ? 1 : 1.02)) << i;  // 0.4 deviations of 0.05
  for (int i = 0; i < 100; ++i) judge.Norm(1.2);
  EXPECT_EQ(judge.alert().rule(), "r");
}

TEST(DriftTest, WhatIsNotANormMovesNothing) {
  Judge judge(DriftRule(0.5, 10, 20)), whole(DriftRule(0.5, 10, 20));
  Random random(2, RandomStream::kSyntheticData, 0);
  for (int i = 0; i < 200; ++i) {
    const double norm = std::exp(0.2 * random.NextNormal() + (i < 100 ? 0 : 0.3));
    judge.harness().record().loss = NAN;
    judge.Norm(1e6);
    judge.harness().BreakTensor(0);
    judge.Norm(1e6);
    judge.Norm(0);
    ASSERT_EQ(judge.Norm(norm), whole.Norm(norm)) << i;
  }
  EXPECT_EQ(judge.alert().rule(), "r");
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

TEST(NoProgressTest, ComparesTheMediansOfTheFirstAndTheLastThird) {
  for (const int window : {30, 31, 32, 100}) {
    constexpr double kGain = 0.05;
    Judge judge(NoProgressRule(window, kGain));
    Random random(4, RandomStream::kSyntheticData, 0);
    std::vector<double> losses;
    int held = 0, steps = 0;
    double log_loss = 0;
    for (int i = 0; i < 3'000; ++i) {
      log_loss += 0.03 * random.NextNormal() - (i / 200 % 2 == 0 ? 0.004 : 0);
      losses.push_back(std::exp(log_loss + 0.2 * random.NextNormal()));
      const bool holds = judge.Loss(losses.back());
      if (i + 1 < window) {
        ASSERT_FALSE(holds) << i;
        continue;
      }
      const std::vector<double> last(losses.end() - window, losses.end());
      const int third = window / 3;
      const double before = Median({last.begin(), last.begin() + third}),
                   now = Median({last.end() - third, last.end()});
      ASSERT_EQ(holds, now >= before - kGain * before) << window << " " << i;
      held += holds ? 1 : 0;
      ++steps;
    }
    EXPECT_GT(held, steps / 10);
    EXPECT_LT(held, steps * 9 / 10);
  }
}

TEST(NoProgressTest, SaysWhatTheLossWasAndIsAndOfWhatSizeTheUpdatesAre) {
  Judge judge(NoProgressRule(30, 0.001));
  for (int i = 0; i < 29; ++i) EXPECT_FALSE(judge.Loss(2)) << i;
  EXPECT_TRUE(judge.Loss(2));
  EXPECT_EQ(judge.alert().value(), 2);
  EXPECT_EQ(judge.alert().limit(), 2 - 0.001 * 2);
  EXPECT_EQ(judge.alert().summary(),
            "the loss has not fallen over the last 30 losses: median 2 in the last third, 2 in the first; so since "
            "step 29");
  EXPECT_THAT(Diagnosis(judge.alert()),
              HasSubstr("The learning rate is 0.5; an update is usually 0.001 of its weights."));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("Look whether this loss is good enough"));
  EXPECT_THAT(Diagnosis(judge.alert()), Not(HasSubstr("gradwatch adjust"))) << "nothing says which way";
}

TEST(NoProgressTest, ACommandIsGivenWhereTheRateWasChanged) {
  const struct {
    double before, now, ratio;
    const char* was;
    const char* command;
  } cases[] = {
      {0.1, 0.5, 0.001, "When the loss was best, at step 4, the learning rate was 0.1; it is 0.5 now.",
       "--lr-scale 0.2"},
      {0.5, 1e-4, 1e-6, "The learning rate was 0.5 before; it is 0.0001 now.", "--lr-scale 10"},
      {0.5, 1e-4, 1e-3, "Look whether this loss is good enough", ""},
      {0.5, 0.5, 1e-6, "which may be too small to get on", ""},
  };
  for (const auto& c : cases) {
    Judge judge(NoProgressRule(30, 0.001));
    bool holds = false;
    for (int i = 0; i < 30; ++i) {
      judge.harness().record().learning_rate = i < 25 ? c.before : c.now;
      judge.harness().SetUpdateRatio(c.ratio);
      holds = judge.Loss(2);
    }
    ASSERT_TRUE(holds);
    const std::string diagnosis = Diagnosis(judge.alert());
    EXPECT_THAT(diagnosis, HasSubstr(c.was));
    EXPECT_THAT(diagnosis, HasSubstr(c.command));
    EXPECT_EQ(diagnosis.find("gradwatch adjust") != std::string::npos, *c.command != 0) << diagnosis;
  }
}

// A scale that is computed for the rate of one step does not hold a schedule that goes on rising.
TEST(NoProgressTest, ARateThatIsStillRisingIsToldWithTheCommand) {
  for (const bool rises : {true, false}) {
    Judge judge(NoProgressRule(30, 0.001));
    bool holds = false;
    for (int i = 0; i < 30; ++i) {
      judge.harness().record().learning_rate = rises ? 0.01 * (i + 1) : i < 15 ? 0.01 : 0.3;
      holds = judge.Loss(2);
    }
    ASSERT_TRUE(holds);
    EXPECT_EQ(Diagnosis(judge.alert()).find("And it is still rising") != std::string::npos, rises);
  }
}

// Nothing can fall while nothing is learnt: such steps neither count nor end an alert.
TEST(NoProgressTest, OnlyStepsThatLearnCount) {
  Judge judge(NoProgressRule(30, 0.001));
  const auto idle = [&judge](bool holds) {
    judge.harness().record().learning_rate = 0;
    for (int i = 0; i < 50; ++i) EXPECT_EQ(judge.Loss(2), holds);
    judge.harness().record().learning_rate = 0.5;
    for (int i = 0; i < 50; ++i) EXPECT_EQ(judge.Loss(NAN), holds);
  };
  for (int i = 0; i < 15; ++i) EXPECT_FALSE(judge.Loss(2));
  idle(false);
  for (int i = 0; i < 14; ++i) EXPECT_FALSE(judge.Loss(2));
  EXPECT_TRUE(judge.Loss(2));
  idle(true);
  for (int i = 0; i < 30; ++i) judge.Loss(std::exp(-0.1 * i));
  EXPECT_FALSE(judge.Loss(0.01));
}

TEST(NoProgressTest, ALossOfZeroCannotFall) {
  Judge judge(NoProgressRule(30, 0.001));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(judge.Loss(0));
}

// Steps whose norms are cut to 1 by clipping with this threshold.
bool Clipped(Judge* judge, double norm, double threshold = 1) {
  judge->harness().SetNorm(norm);
  judge->harness().record().clip_in_force.shared = {threshold, v1::CLIP_MODE_GLOBAL_NORM, false};
  judge->harness().clip().action = v1::ClipOutcome::ACTION_CLIPPED;
  judge->harness().clip().threshold = threshold;
  judge->harness().clip().norm_after = std::min(norm, 1.0);
  return judge->Step();
}

TEST(ClippingTest, HoldsWhenTheNormHasGrownBehindIt) {
  Judge judge(ClippingRule());
  for (int i = 0; i < 200; ++i) ASSERT_FALSE(Clipped(&judge, 50)) << i;
  // Half of the last 50 must be large: their median is the mean of both kinds then.
  int step = 0;
  while (!Clipped(&judge, 2'000) && step < 1'000) ++step;
  EXPECT_EQ(step, 24);
  EXPECT_EQ(judge.alert().value(), 1'025);
  EXPECT_EQ(judge.alert().limit(), 100);
  EXPECT_THAT(judge.alert().summary(), HasSubstr("median gradient norm is 1.02e+03 before it and 1 after it"));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("set at step 0 the norm has grown 20.5 times, from 50"));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("gradwatch adjust job --lr-scale 0.1"));
}

TEST(ClippingTest, NeitherLargeNorGrownAloneIsEnough) {
  const struct {
    const char* what;
    double before, now;
    bool fires;
  } cases[] = {{"hard clipping from the start", 1e6, 1e6, false},
               {"grown, and cut by little", 1, 99, false},
               {"cut by much, and grown by little", 200, 1'900, false},
               {"both", 20, 201, true}};
  for (const auto& c : cases) {
    Judge judge(ClippingRule());
    for (int i = 0; i < 100; ++i) ASSERT_FALSE(Clipped(&judge, c.before)) << c.what;
    bool fires = false;
    for (int i = 0; i < 100; ++i) fires = Clipped(&judge, c.now);
    EXPECT_EQ(fires, c.fires) << c.what;
  }
}

// Whoever sets clipping knows the norm of then; a revision about something else changes nothing.
TEST(ClippingTest, GrowthCountsFromWhereClippingWasSet) {
  Judge judge(ClippingRule());
  for (int i = 0; i < 100; ++i) Clipped(&judge, 50);
  judge.harness().record().control_revision = 2;
  for (int i = 0; i < 40; ++i) Clipped(&judge, 2'000);
  EXPECT_TRUE(Clipped(&judge, 2'000)) << "another revision, the same threshold";
  judge.harness().record().control_revision = 3;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(Clipped(&judge, 2'000, 0.5)) << i;
  for (int i = 0; i < 50; ++i) Clipped(&judge, 30'000, 0.5);
  EXPECT_TRUE(Clipped(&judge, 30'000, 0.5));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("set at step 141 the norm has grown 15 times, from 2e+03"));
}

// AutoClip and its like have another threshold on every step, of which an edit about something else is no cause.
TEST(ClippingTest, AThresholdThatAdaptsIsNoNewSetting) {
  Judge judge(ClippingRule());
  const auto step = [&](double norm, double threshold) {
    judge.harness().SetNorm(norm);
    judge.harness().clip().action = v1::ClipOutcome::ACTION_CLIPPED;
    judge.harness().clip().threshold = threshold;
    judge.harness().clip().norm_after = 1;
    return judge.Step();
  };
  ClipInForce& in_force = judge.harness().record().clip_in_force;
  in_force.shared = {10, v1::CLIP_MODE_AUTOCLIP, false};
  for (int i = 0; i < 100; ++i) step(50, 1 + 0.001 * i);
  for (int i = 0; i < 30; ++i) step(2'000, 2 + 0.001 * i);
  judge.harness().record().control_revision = 2;
  EXPECT_TRUE(step(2'000, 3));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("set at step 0 the norm has grown"));
}

// The norm that is judged is that of all tensors, and for nearly all of them nothing has changed.
TEST(ClippingTest, AnOverrideIsNoNewSettingAndALargestNormIs) {
  Judge judge(ClippingRule());
  for (int i = 0; i < 100; ++i) Clipped(&judge, 50);
  for (int i = 0; i < 40; ++i) Clipped(&judge, 2'000);
  ClipInForce& in_force = judge.harness().record().clip_in_force;
  in_force.tensors.assign(testing::HarnessTensors().size(), in_force.shared);
  in_force.tensors[kDenseWeight].own = true;  // as large as the shared one
  EXPECT_TRUE(Clipped(&judge, 2'000));
  in_force.tensors[kDenseWeight] = {1, v1::CLIP_MODE_VALUE, true};
  EXPECT_TRUE(Clipped(&judge, 2'000));
  EXPECT_THAT(Diagnosis(judge.alert()), HasSubstr("set at step 0 the norm has grown"));
  in_force.norm_limit = 1;
  EXPECT_FALSE(Clipped(&judge, 2'000));
}

TEST(ClippingTest, WithoutClippingItIsQuietAndSkippedStepsDoNotCount) {
  Judge judge(ClippingRule());
  for (int i = 0; i < 300; ++i) {
    judge.harness().SetNorm(std::exp(0.1 * i));
    judge.harness().clip().norm_after = std::exp(0.1 * i);
    EXPECT_FALSE(judge.Step());
  }
  Judge skipped(ClippingRule());
  for (int i = 0; i < 60; ++i) Clipped(&skipped, 50);
  for (int i = 0; i < 100; ++i) {
    skipped.harness().SetNorm(1e6);
    skipped.harness().clip().action = v1::ClipOutcome::ACTION_SKIPPED;
    EXPECT_FALSE(skipped.Step());
  }
  EXPECT_FALSE(Clipped(&skipped, 1e6));
}

TEST(MomentsTest, JoinedTheyAreThoseOfAllNumbers) {
  Random random(8, RandomStream::kSyntheticData, 0);
  for (const size_t split : {0, 1, 40, 99, 100}) {
    std::vector<double> values;
    Moments first, second;
    for (size_t i = 0; i < 100; ++i) {
      values.push_back(5 + (i < 30 ? 1e4 : 1) * random.NextNormal());
      (i < split ? first : second).Add(values.back());
    }
    first.Join(second);
    const TwoPass exact(values, values.size());
    EXPECT_EQ(first.count(), 100);
    EXPECT_NEAR(first.mean(), exact.mean, 1e-12 * exact.deviation);
    EXPECT_NEAR(first.deviation(), exact.deviation, 1e-12 * exact.deviation);
    EXPECT_NEAR(first.sample_deviation(), exact.deviation * std::sqrt(100 / 99.), 1e-12 * exact.deviation);
  }
}

TEST(SeriesRulesTest, QuietStepsAllocateNothing) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::RuleSet mean = SeriesRule(SeriesSpec::SERIES_LOSS, SeriesSpec::BASELINE_MEAN, 7);
  v1::RuleSet moving = SeriesRule(SeriesSpec::SERIES_UPDATE_RATIO, SeriesSpec::BASELINE_MOVING, 7);
  Condition(&mean)->set_max_deviations(6);
  Condition(&moving)->set_factor(6);
  for (const v1::RuleSet& one : {mean, moving, DriftRule(0.5, 10, 10), NoProgressRule(30, 0.001), ClippingRule()}) {
    *rules.add_rules() = one.rules(0);
    rules.mutable_rules(rules.rules_size() - 1)->set_name(absl::StrCat("r", rules.rules_size()));
  }
  Detector detector(rules, testing::HarnessTensors(), AlertIdentity{"job", "uid", 1});
  StepRecord record;
  record.tensors.resize(testing::HarnessTensors().size());
  for (TensorStatistics& tensor : record.tensors) {
    tensor.l2_norm = tensor.weight_norm = 1;
    tensor.update_norm = 0.01;
  }
  record.learning_rate = 1;
  record.grad_norm = record.clip.norm_after = std::sqrt(5);
  record.clip_in_force.tensors.resize(record.tensors.size());
  std::vector<v1::Alert> alerts;
  const int64_t before = testing::AllocationCount();
  for (record.step = 0; record.step < 500; ++record.step) {
    record.loss = std::exp(-0.01 * static_cast<double>(record.step));
    detector.JudgeGradients(record, absl::UnixEpoch(), &alerts);
    detector.JudgeUpdate(record, absl::UnixEpoch(), &alerts);
  }
  EXPECT_EQ(testing::AllocationCount(), before);
  EXPECT_THAT(alerts, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::core
