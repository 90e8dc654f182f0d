// Laws of the default rules: what is lost is called lost, early and for as long as it is. That health is left in peace
// is told in healthy_runs_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/core/detect/detector_harness.h"
#include "tests/core/detect/synthetic_run.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::Course;
using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::Noise;
using ::gradwatch::testing::OneRule;
using ::gradwatch::testing::Play;
using ::gradwatch::testing::Sample;
using ::gradwatch::testing::Told;
using ::testing::IsEmpty;

// Loss and norm of a run that is well, with the noise of both.
Sample Healthy(Noise* noise, double norm_spread = 0.2) {
  return {.loss = std::exp(0.05 * noise->Normal()), .norm = std::exp(norm_spread * noise->Normal())};
}

// Plays a run of which all is lost from `lost_by` on: by then a critical alert has fired, and from the first one on
// there is always one, to the end. Gives the step of the first.
int64_t ExpectLost(const Course& course, int steps, int64_t lost_by) {
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  for (int step = 0; step < steps; ++step) {
    Play(course, step, step + 1, &harness, &told);
    if (told.FirstCritical() < 0) continue;
    EXPECT_TRUE(told.IsCriticalNow()) << "nothing says at step " << step << " that the run is lost:\n" << told.Words();
    if (!told.IsCriticalNow()) break;
  }
  EXPECT_NE(told.FirstCritical(), -1) << told.Words();
  EXPECT_LE(told.FirstCritical(), lost_by) << told.Words();
  // The record of the run: its last word about a critical alert is that the job ended under it.
  const std::vector<v1::Alert> ends = harness.Finish();
  EXPECT_TRUE(std::ranges::any_of(ends, [](const auto& end) { return end.severity() == v1::SEVERITY_CRITICAL; }));
  return told.FirstCritical();
}

TEST(DefaultRulesTest, ALossThatClimbsIsLostWhenItHasPassedThreeTimesItsBest) {
  // By 2 % a step, from 5 to 10^76: it has tripled after 55.5 steps, and 25 steps later is 5 times its best.
  for (const int calm : {0, 30, 300}) {
    for (const double spread : {0.0, 0.05}) {
      SCOPED_TRACE(absl::StrCat(calm, " calm steps, noise ", spread));
      Noise noise(1);
      const Course course = [&](int step) {
        Sample sample = Healthy(&noise);
        sample.loss = 5 * std::pow(1.02, std::max(0, step - calm)) * std::exp(spread * noise.Normal());
        return sample;
      };
      const int64_t told = ExpectLost(course, calm + 8800, calm + 56 + 25);
      EXPECT_GT(told, calm + 20) << "a rise by a half is no loss yet";
    }
  }
}

TEST(DefaultRulesTest, ANormThatGrowsIsToldAboutItsHundredfold) {
  for (const double growth : {0.005, 0.01, 0.02, 0.05, 0.1}) {
    for (const double spread : {0.1, 0.3}) {
      for (const int calm : {0, 300}) {
        for (uint64_t seed = 1; seed <= 5; ++seed) {
          SCOPED_TRACE(absl::StrCat(growth, " a step, noise ", spread, ", ", calm, " calm steps, seed ", seed));
          Noise noise(seed);
          const auto factor = [&](int64_t step) {
            return std::pow(1 + growth, static_cast<double>(std::max<int64_t>(0, step - calm)));
          };
          const Told told = Play(
              [&](int step) {
                Sample sample = Healthy(&noise, spread);
                sample.norm *= factor(step);
                return sample;
              },
              calm + static_cast<int>(std::log(2000) / std::log1p(growth)));
          ASSERT_NE(told.FirstCritical(), -1);
          EXPECT_LT(factor(told.FirstCritical()), 1000);
          EXPECT_GT(factor(told.FirstCritical()), 30);
        }
      }
    }
  }
}

TEST(DefaultRulesTest, ANormThatGrowsNinefoldAStepIsToldBeforeAnyRuleHasAHistory) {
  const auto norm = [](int step) { return std::pow(9, step); };
  for (const int calm : {0, 1, 10}) {
    const Told told = Play([&](int step) { return Sample{.norm = norm(std::max(0, step - calm))}; }, calm + 30);
    ASSERT_NE(told.FirstCritical(), -1) << calm;
    EXPECT_LE(told.FirstCritical(), calm + 4) << told.Words();
  }
}

// What clipping says of a step that it acted upon, by mode, as the trainer fills it in.
struct ClippedStep {
  std::string mode;
  ClipOutcome outcome;
};

std::vector<ClippedStep> ClippedSteps() {
  constexpr auto kClipped = v1::ClipOutcome::ACTION_CLIPPED, kSkipped = v1::ClipOutcome::ACTION_SKIPPED;
  return {
      {"none", {}},
      {"global_norm", {.action = kClipped, .norm_after = 2, .coefficient = 0.04, .threshold = 2}},
      {"tensor_norm", {.action = kClipped, .norm_after = 4, .tensors_clipped = 5, .threshold = 2}},
      {"value", {.action = kClipped, .norm_after = 3, .threshold = 0.1, .elements_clipped = 900}},
      {"adaptive", {.action = kClipped, .norm_after = 5, .threshold = 0.01, .units_clipped = 70}},
      {"autoclip", {.action = kClipped, .norm_after = 1.5, .coefficient = 0.03, .threshold = 1.5}},
      {"zclip", {.action = kClipped, .norm_after = 1.2, .coefficient = 0.02, .threshold = 1.2}},
      {"adagc", {.action = kClipped, .norm_after = 1.1, .tensors_clipped = 5, .threshold = 1.05}},
      {"spam", {.action = kClipped, .norm_after = 9, .threshold = 5000, .elements_clipped = 30, .moments_reset = true}},
      {"skipped", {.action = kSkipped, .norm_after = 50, .coefficient = 0}}};
}

// A NaN, 40 healthy steps, and six spikes of loss and norm that are 30 steps apart.
Told PlaySixSpikes(const v1::RuleSet& rules, const ClippedStep& clipped) {
  DetectorHarness harness(rules);
  Noise noise(3);
  Told told;
  harness.record().loss = NAN;
  harness.BreakTensor(1);
  harness.SetClip({.action = v1::ClipOutcome::ACTION_SKIPPED});
  told.Add(harness.Step());
  for (int step = 1; step <= 40 + 6 * 30; ++step) {
    Sample sample = Healthy(&noise);
    const bool spikes = step > 40 && (step - 41) % 30 == 0;
    if (spikes) sample.loss = sample.norm = 50;
    // An update that is clipped is as usual, one that is skipped is none.
    if (spikes && clipped.outcome.action == v1::ClipOutcome::ACTION_SKIPPED) sample.ratio = 0;
    gradwatch::testing::Show(sample, &harness);
    if (spikes) harness.SetClip(clipped.outcome);
    told.Add(harness.Step());
  }
  return told;
}

TEST(DefaultRulesTest, EverySpikeAfterANaNIsToldByEveryRuleWithAHistoryInEveryModeOfClipping) {
  for (const ClippedStep& clipped : ClippedSteps()) {
    const Told told = PlaySixSpikes(v1::RuleSet(), clipped);
    for (const char* rule : {"grad_norm_spike", "loss_jump", "loss_spike"}) {
      EXPECT_EQ(told.Count(rule), 6) << clipped.mode << "\n" << told.Words();
    }
    EXPECT_EQ(told.Count("non_finite"), 1) << clipped.mode;
    EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 1) << clipped.mode << "\n" << told.Words();
  }
  // Rules of one's own, each alone. A norm that is not finite is above any usual one, a NaN above any limit.
  v1::RuleSet norm = OneRule(), per_tensor = OneRule(), loss = OneRule();
  norm.mutable_rules(0)->mutable_norm_spike();
  per_tensor.mutable_rules(0)->mutable_norm_spike()->set_per_tensor(true);
  loss.mutable_rules(0)->mutable_loss_jump();
  for (const v1::RuleSet& rules : {norm, per_tensor, loss}) {
    for (const ClippedStep& clipped : ClippedSteps()) {
      const Told told = PlaySixSpikes(rules, clipped);
      int spikes = 0;
      for (const v1::Alert& alert : told.firings()) spikes += alert.step() > 40 ? 1 : 0;
      EXPECT_EQ(spikes, 6) << clipped.mode << ": " << rules.ShortDebugString() << "\n" << told.Words();
    }
  }
}

// One batch in ten is bad.
Course OneInTen(Noise* noise, double Sample::*bad, int but_at = -1, double but = 0) {
  return [=](int step) {
    Sample sample = Healthy(noise);
    if (step > 40 && step % 10 == 0) sample.*bad = 50;
    if (step == but_at) sample.*bad = but;
    return sample;
  };
}

TEST(DefaultRulesTest, ABadBatchInTenNeverBecomesTheUsual) {
  for (const auto& [rule, series] : {std::pair("grad_norm_spike", &Sample::norm), {"loss_jump", &Sample::loss}}) {
    SCOPED_TRACE(rule);
    DetectorHarness harness(v1::RuleSet{});
    Noise noise(4);
    Told told;
    Play(OneInTen(&noise, series), 0, 5000, &harness, &told);
    EXPECT_EQ(told.Count(rule), 1) << told.Words();
    EXPECT_TRUE(told.IsOpen(rule));
    EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << told.Words();
    for (const v1::Alert& end : harness.Finish()) {
      if (end.rule() != rule) continue;
      EXPECT_EQ(end.holding_steps(), 495) << "from step 50 on";
      EXPECT_EQ(end.first_step(), 50);
    }
  }
}

TEST(DefaultRulesTest, EachBadBatchIsAnOutlierForEverWhateverTheWindow) {
  for (const int window : {30, 101, 1000}) {
    v1::RuleSet norm = OneRule(1, 5), per_tensor = OneRule(1, 5), loss = OneRule(1, 5);
    norm.mutable_rules(0)->mutable_norm_spike()->set_window(window);
    per_tensor.mutable_rules(0)->mutable_norm_spike()->set_per_tensor(true);
    per_tensor.mutable_rules(0)->mutable_norm_spike()->set_window(window);
    loss.mutable_rules(0)->mutable_loss_jump()->set_window(window);
    for (const auto& [rules, series] :
         {std::pair(norm, &Sample::norm), {per_tensor, &Sample::norm}, {loss, &Sample::loss}}) {
      SCOPED_TRACE(rules.ShortDebugString());
      DetectorHarness harness(rules);
      Noise noise(5);
      Told told;
      Play(OneInTen(&noise, series, 3006, 20), 0, 5000, &harness, &told);
      std::set<int64_t> firings;
      for (const v1::Alert& alert : told.firings()) firings.insert(alert.step());
      // One every ten steps; that of the odd step goes on in the next one's place.
      EXPECT_EQ(firings.size(), 495u) << told.Words();
      EXPECT_TRUE(firings.contains(3006) && !firings.contains(3010) && firings.contains(3020));
    }
  }
}

TEST(DefaultRulesTest, AChangeOfLevelIsToldOnceAndEnds) {
  v1::RuleSet norm = OneRule(), loss = OneRule();
  norm.mutable_rules(0)->mutable_norm_spike()->set_window(30);
  loss.mutable_rules(0)->mutable_loss_jump()->set_window(30);
  for (const auto& [rules, series] : {std::pair(norm, &Sample::norm), {loss, &Sample::loss}}) {
    SCOPED_TRACE(rules.ShortDebugString());
    DetectorHarness harness(rules);
    Noise noise(6);
    Told told;
    const Course course = [&, series = series](int step) {
      Sample sample = Healthy(&noise);
      if (step >= 200) sample.*series *= 30;
      return sample;
    };
    Play(course, 0, 2000, &harness, &told);
    EXPECT_EQ(told.firings().size(), 1u) << told.Words();
    ASSERT_EQ(told.resolved().size(), 1u);
    EXPECT_GE(told.resolved()[0].step(), 200 + 15 + 20 - 1) << "more than half a window, and 20 quiet steps";
    EXPECT_LE(told.resolved()[0].step(), 200 + 30 + 20);
  }
}

TEST(DefaultRulesTest, ALossBackWhereItBeganIsACollapseToTheEnd) {
  // Of what was learnt, all is lost again: within a step, and in the course of five hundred.
  for (const double best : {0.3, 1.0}) {
    for (const int fall : {1, 500}) {
      SCOPED_TRACE(absl::StrCat("best ", best, ", fall in ", fall));
      Noise noise(7);
      const Course course = [&](int step) {
        Sample sample = Healthy(&noise);
        const double learnt = std::log(best / 2.3) * std::min(1.0, step / 300.0);
        const double lost = std::log(best / 2.3) * std::clamp((step - 600.0) / fall, 0.0, 1.0);
        sample.loss = 2.3 * std::exp(learnt - lost + 0.02 * noise.Normal());
        return sample;
      };
      EXPECT_GT(ExpectLost(course, 3000, 600 + fall + 40), 600);
    }
  }
}

TEST(DefaultRulesTest, WhatLittleWasLearntCanBeLostToo) {
  // Less than the factor of 1.5 that a collapse has at once, with noise of single losses of 2 % and of 10 %.
  for (const double best : {1.65, 1.8}) {
    for (const double spread : {0.02, 0.1}) {
      SCOPED_TRACE(absl::StrCat("best ", best, ", noise ", spread));
      Noise noise(15);
      const Course course = [&](int step) {
        Sample sample = Healthy(&noise);
        sample.loss = (step >= 100 && step < 600 ? best : 2.3) * std::exp(spread * noise.Normal());
        return sample;
      };
      EXPECT_GT(ExpectLost(course, 3000, 600 + 30 + 200), 600 + 100);
    }
  }
}

TEST(DefaultRulesTest, LittleThatComesBackIsNotLost) {
  // Less than half of the way back, or all of it for a while.
  for (const auto& [level, steps] : {std::pair(1.85, 2000), {2.3, 150}}) {
    Noise noise(15);
    const Told told = Play(
        [&, level = level, steps = steps](int step) {
          Sample sample = Healthy(&noise);
          const double loss = step >= 600 && step < 600 + steps ? level : step >= 100 ? 1.7 : 2.3;
          sample.loss = loss * std::exp(0.02 * noise.Normal());
          return sample;
        },
        2600);
    EXPECT_EQ(told.FirstCritical(), -1) << told.Words();
  }
}

TEST(DefaultRulesTest, ANetworkThatNoGradientReachesIsDead) {
  for (const int from : {0, 100}) {
    for (const double bias : {0.0, 1.0}) {  // what is left of the gradient
      DetectorHarness harness(v1::RuleSet{});
      Told told;
      for (int step = 0; step < from + 100; ++step) {
        if (step >= from) {
          harness.SetNorm(0);
          harness.SetTensorNorm(4, bias);
        }
        told.Add(harness.Step());
      }
      ASSERT_EQ(told.firings().size(), 1u) << told.Words();
      EXPECT_EQ(told.firings()[0].rule(), "dead_network");
      EXPECT_EQ(told.firings()[0].step(), from + 19);
      // Nothing is lost: what was learnt before is the business of loss_collapse.
      EXPECT_EQ(told.firings()[0].severity(), v1::SEVERITY_WARNING);
      EXPECT_TRUE(told.IsOpen("dead_network"));
    }
  }
}

TEST(DefaultRulesTest, PartsThatRestAreNoDeadNetwork) {
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  for (int step = 0; step < 300; ++step) {
    for (int tensor = 0; tensor < 3; ++tensor) harness.SetTensorNorm(tensor, 0);  // three of five
    if (step % 20 == 0) harness.SetNorm(0);
    told.Add(harness.Step());
  }
  EXPECT_EQ(told.Count("dead_network"), 0) << told.Words();
}

TEST(DefaultRulesTest, ALossThatIsDestroyedIsToldAtOnceAndToTheEnd) {
  for (const int at : {25, 100, 1000}) {
    Noise noise(8);
    const Course course = [&](int step) {
      Sample sample = Healthy(&noise);
      if (step >= at) sample.loss = 100;
      return sample;
    };
    EXPECT_GE(ExpectLost(course, at + 3000, at + 10), at);
  }
}

TEST(DefaultRulesTest, ALossThatNeverComesBackToItsStartIsLost) {
  // Twenty times the start, by updates of a fiftieth; or, however small the updates, two hundred times.
  for (const auto& [height, ratio] : {std::pair(20.0, 0.02), {200.0, 1e-6}}) {
    for (const int at : {1, 3, 10}) {
      SCOPED_TRACE(absl::StrCat(height, " times from step ", at));
      Noise noise(9);
      const Course course = [&, height = height, ratio = ratio](int step) {
        Sample sample = Healthy(&noise);
        sample.ratio = ratio;
        if (step >= at) sample.loss *= height;
        return sample;
      };
      ExpectLost(course, 1000, at + 60);
    }
  }
}

// A run whose loss falls to a tenth in 300 steps, and on which what `change` says happens from step 600 on.
Told AfterLearning(const std::function<void(Sample*)>& change, double ratio = 0.001) {
  Noise noise(14);
  return Play(
      [&](int step) {
        Sample sample = Healthy(&noise);
        sample.loss *= std::pow(10, 1 - std::min(1.0, step / 300.0));
        sample.ratio = ratio;
        if (step >= 600) change(&sample);
        return sample;
      },
      1200);
}

TEST(DefaultRulesTest, AboveThreeTimesItsBestALossIsLostAndBelowItIsNot) {
  const Told lost = AfterLearning([](Sample* sample) { sample->loss *= 4; });
  EXPECT_EQ(lost.Count("loss_divergence"), 1) << lost.Words();
  EXPECT_GE(lost.FirstCritical(), 600);
  EXPECT_LE(lost.FirstCritical(), 625);
  EXPECT_EQ(AfterLearning([](Sample* sample) { sample->loss *= 2.5; }).FirstCritical(), -1);
}

TEST(DefaultRulesTest, LossAndNormOrUpdateThatGrowTogetherAreLost) {
  const auto grown = [](double loss, double norm, double ratio, double rate) {
    return AfterLearning([=](Sample* sample) {
             sample->loss *= loss;
             sample->norm *= norm;
             sample->ratio *= ratio;
             sample->rate *= rate;
           })
        .Count("joint_growth");
  };
  EXPECT_EQ(grown(2.5, 8, 1, 1), 1);
  EXPECT_EQ(grown(2.5, 2, 1, 1), 0) << "the norm alone";
  EXPECT_EQ(grown(1.5, 8, 1, 1), 0) << "the loss alone";
  EXPECT_EQ(grown(2, 1, 8, 1), 1);
  EXPECT_EQ(grown(2, 1, 2, 1), 0);
  EXPECT_EQ(grown(1.1, 1, 8, 1), 0);
  const auto small = [](Sample* sample) {
    sample->loss *= 2;
    sample->ratio *= 8;
  };
  EXPECT_EQ(AfterLearning(small, 0.0003).Count("joint_growth"), 0) << "below 0.3 % of the weights they harm nobody";
}

TEST(DefaultRulesTest, AHundredfoldNormIsCriticalOnTwoOfThreeSteps) {
  const auto norms = [](std::vector<double> factors) {
    Noise noise(15);
    return Play(
        [&, factors](int step) {
          Sample sample = Healthy(&noise);
          if (step >= 100 && step - 100 < static_cast<int>(factors.size())) sample.norm *= factors[step - 100];
          return sample;
        },
        200);
  };
  const Told once = norms({1000});
  EXPECT_EQ(once.CountOf(v1::SEVERITY_CRITICAL), 0) << once.Words();
  EXPECT_EQ(once.Count("grad_norm_spike"), 1);
  EXPECT_EQ(norms({1000, 1, 1, 1000}).Count("grad_norm_exploding"), 0);
  EXPECT_EQ(norms({1000, 1, 1000}).Count("grad_norm_exploding"), 1);
  EXPECT_EQ(norms({1000, 1000}).Count("grad_norm_exploding"), 1);
}

// A rate that is constant and then rises by `growth` a step, for `steps`; the updates follow it.
Course GeometricRamp(Noise* noise, double growth, int steps) {
  return [=](int step) {
    Sample sample = Healthy(noise);
    const double factor = std::pow(1 + growth, std::clamp(step - 100, 0, steps));
    sample.rate = 0.01 * factor;
    sample.ratio = 0.001 * factor * std::exp(0.1 * noise->Normal());
    return sample;
  };
}

TEST(DefaultRulesTest, AGeometricRampOfTheRateIsToldOnceItHasDoubled) {
  for (const double growth : {0.01, 0.02, 0.05, 0.1, 0.3}) {
    Noise noise(10);
    const Told told = Play(GeometricRamp(&noise, growth, 127), 100 + 140);
    ASSERT_EQ(told.Count("update_growth"), 1) << growth << "\n" << told.Words();
    const int64_t step = told.FirstCritical() - 100;
    EXPECT_GE(std::pow(1 + growth, static_cast<double>(step)), 1.99) << growth;
    EXPECT_LE(step, std::max(12.0, std::log(2.6) / std::log1p(growth))) << growth;
  }
}

TEST(DefaultRulesTest, ARampThatEndedUnmeasuredIsOver) {
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  Noise noise(20);
  double rate = 0.1;
  for (int step = 0; step < 440; ++step) {
    if (step >= 100 && step < 160) rate *= 1.05;
    if (step >= 180) rate += 0.05;  // a line, for longer than a ramp is remembered
    Sample sample = Healthy(&noise);
    sample.rate = rate;
    sample.ratio = 0.01 * rate;
    gradwatch::testing::Show(sample, &harness);
    if (step >= 160 && step < 380) harness.record().level = v1::STATISTICS_LEVEL_NORM;
    told.Add(harness.Step());
    if (step == 159) {
      ASSERT_TRUE(told.IsOpen("update_growth")) << told.Words();
    }
  }
  EXPECT_FALSE(told.IsOpen("update_growth"));
}

TEST(DefaultRulesTest, OneOrTwoRaisesOfTheRateAreNoRamp) {
  for (const int steps : {1, 2, 4}) {
    Noise noise(11);
    const Told told = Play(GeometricRamp(&noise, 0.5, steps), 400);
    EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << steps << "\n" << told.Words();
  }
}

// A loss that is broken from step 50 on for a few steps, with updates of this size.
Told BrokenLoss(double ratio, v1::StatisticsLevel level, int steps) {
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  Noise noise(12);
  for (int step = 0; step < 100; ++step) {
    Sample sample = Healthy(&noise);
    if (step >= 50 && step < 50 + steps) sample = {.loss = 2, .norm = 2, .ratio = ratio};
    gradwatch::testing::Show(sample, &harness);
    if (step >= 50) harness.record().level = level;
    told.Add(harness.Step());
  }
  return told;
}

TEST(DefaultRulesTest, UpdatesThatTurnTheWeightsOverWhileTheLossIsBrokenAreCritical) {
  EXPECT_EQ(BrokenLoss(2, v1::STATISTICS_LEVEL_FULL, 3).Count("update_overshoot"), 1);
  EXPECT_EQ(BrokenLoss(1000, v1::STATISTICS_LEVEL_FULL, 1).Count("update_overshoot"), 0) << "one counts as 4 at most";
  EXPECT_EQ(BrokenLoss(1000, v1::STATISTICS_LEVEL_FULL, 2).Count("update_overshoot"), 1);
  for (const double ratio : {0.1, 0.9}) {
    const Told told = BrokenLoss(ratio, v1::STATISTICS_LEVEL_FULL, 3);
    EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << ratio << "\n" << told.Words();
  }
}

TEST(DefaultRulesTest, UpdatesThatAreNotMeasuredAreNotJudged) {
  for (const auto level : {v1::STATISTICS_LEVEL_NONE, v1::STATISTICS_LEVEL_NORM}) {
    EXPECT_EQ(BrokenLoss(1000, level, 3).Count("update_overshoot"), 0);
  }
}

TEST(DefaultRulesTest, LossAndNormAreJudgedAtEveryLevel) {
  for (const auto level : {v1::STATISTICS_LEVEL_NONE, v1::STATISTICS_LEVEL_NORM}) {
    for (const auto series : {&Sample::loss, &Sample::norm}) {
      DetectorHarness harness(v1::RuleSet{});
      Noise noise(13);
      Told told;
      for (int step = 0; step < 300; ++step) {
        Sample sample = Healthy(&noise);
        if (step >= 100) sample.*series *= std::pow(1.05, step - 100);
        // Of tensors nothing is known, or no more than their norms.
        harness.record().loss = sample.loss;
        harness.SetNorm(sample.norm);
        harness.record().level = level;
        for (TensorStatistics& tensor : harness.record().tensors) {
          tensor.weight_norm = tensor.update_norm = 0;
          if (level == v1::STATISTICS_LEVEL_NONE) tensor.l2_norm = 0;
        }
        told.Add(harness.Step());
      }
      EXPECT_TRUE(told.IsCriticalNow()) << level << "\n" << told.Words();
      for (const v1::Alert& alert : told.firings()) EXPECT_GE(alert.step(), 100) << told.Words();
    }
  }
}

Told FirstSteps(double ratio, double loss, RunFacts facts, int steps = 100) {
  DetectorHarness harness(v1::RuleSet{}, facts);
  Told told;
  Play([&](int) { return Sample{.loss = loss, .ratio = ratio}; }, 0, steps, &harness, &told);
  return told;
}

TEST(DefaultRulesTest, AFirstUpdateAsLargeAsTheWeightsIsWarnedAboutOnce) {
  const Told told = FirstSteps(1.01, 1, {});
  ASSERT_EQ(told.firings().size(), 1u) << told.Words();
  EXPECT_EQ(told.firings()[0].rule(), "first_step");
  EXPECT_EQ(told.firings()[0].severity(), v1::SEVERITY_WARNING);
  EXPECT_EQ(told.firings()[0].step(), 0);
  EXPECT_THAT(FirstSteps(0.99, 1, {}).firings(), IsEmpty());
}

TEST(DefaultRulesTest, AFirstLossFarAboveThatOfGuessingIsWarnedAboutOnce) {
  const RunFacts ten_classes{.guessing_loss = std::log(10)};
  const Told told = FirstSteps(0.001, 25, ten_classes);
  ASSERT_EQ(told.firings().size(), 1u) << told.Words();
  EXPECT_EQ(told.firings()[0].rule(), "first_step");
  EXPECT_EQ(told.firings()[0].step(), 0);
  EXPECT_THAT(FirstSteps(0.001, 22, ten_classes).firings(), IsEmpty());
  EXPECT_THAT(FirstSteps(0.001, 1e6, {}).firings(), IsEmpty()) << "what guessing gives is not known";
}

TEST(DefaultRulesTest, AQuietStepOfAHundredTensorsDoesNotAllocate) {
  if (!gradwatch::testing::CountsAllocations()) GTEST_SKIP() << "this build does not count allocations";
  std::vector<std::string> tensors;
  for (int i = 0; i < 100; ++i) tensors.push_back(absl::StrCat("dense", i / 2, i % 2 == 0 ? ".weight" : ".bias"));
  DetectorHarness harness(v1::RuleSet{}, {}, tensors);
  EXPECT_THAT(harness.HealthySteps(1), IsEmpty());
  const int64_t before = gradwatch::testing::AllocationCount();
  const std::vector<v1::Alert> alerts = harness.HealthySteps(2000);  // histories fill, rules arm
  EXPECT_EQ(gradwatch::testing::AllocationCount(), before);
  EXPECT_THAT(alerts, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::core
