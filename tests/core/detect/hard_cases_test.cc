// Cases in which the default rules were silent over a lost run, or were heard over a healthy one: found by people who
// ran real jobs.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/core/detect/detector_harness.h"
#include "tests/core/detect/synthetic_run.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::Course;
using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::Noise;
using ::gradwatch::testing::Play;
using ::gradwatch::testing::Sample;
using ::gradwatch::testing::Show;
using ::gradwatch::testing::Told;

// An update that leaves nothing of the weights, while the loss is far above its start: told on its own step, and not
// when the loss has been seen to stay up.
TEST(HardCasesTest, OneUpdateThatReplacesTheWeightsIsEnough) {
  for (const int at : {1, 5, 500}) {
    SCOPED_TRACE(at);
    Noise noise(1);
    const Told told = Play(
        [&](int step) {
          if (step == at) return Sample{.loss = 50, .norm = 100, .ratio = 9};
          return Sample{.loss = std::exp(0.05 * noise.Normal()), .norm = std::exp(0.2 * noise.Normal())};
        },
        at + 2);
    EXPECT_EQ(told.FirstCritical(), at) << told.Words();
  }
}

// Clipped as advised: updates are too small to break anything further, and an early peak is never reached again.
TEST(HardCasesTest, ALossThatStaysFarAboveItsStartBehindAnEarlyPeakIsLost) {
  for (const double ratio : {1e-6, 0.005, 0.05}) {
    for (const auto level : {v1::STATISTICS_LEVEL_NONE, v1::STATISTICS_LEVEL_NORM, v1::STATISTICS_LEVEL_FULL}) {
      SCOPED_TRACE(absl::StrCat("updates of ", ratio, ", level ", static_cast<int>(level)));
      Noise noise(2);
      DetectorHarness harness(v1::RuleSet{});
      Told told;
      for (int step = 0; step < 600; ++step) {
        const double level_of_loss = step == 0 ? 2.7 : step < 15 ? 1000 : 45;
        Show({.loss = level_of_loss * std::exp(0.2 * noise.Normal()), .norm = 3, .ratio = ratio}, &harness);
        harness.record().level = level;
        told.Add(harness.Step());
      }
      EXPECT_GE(told.FirstCritical(), 1) << told.Words();
      EXPECT_TRUE(told.IsCriticalNow()) << told.Words();
    }
  }
}

// What comes after is no tenfold loss: updates of a thousandth cannot have made one of it.
TEST(HardCasesTest, AfterALuckyFirstBatchARunIsWell) {
  Noise noise(16);
  const Told told = Play(
      [&](int step) {
        return Sample{.loss = (step == 0 ? 0.1 : 1 + std::exp(-step / 1000.0)) * std::exp(0.1 * noise.Normal())};
      },
      2000);
  EXPECT_EQ(told.FirstCritical(), -1) << told.Words();
}

// The first update replaces the weights, and the loss that it makes falls back to chance within some steps: nothing was
// learnt that could be lost, and nothing stays high.
TEST(HardCasesTest, AFirstUpdateThatReplacesTheWeightsIsToldByTheNextLoss) {
  for (const double ratio : {4.0, 8.0}) {
    SCOPED_TRACE(ratio);
    Noise noise(21);
    const Told told = Play(
        [&](int step) {
          const double loss = step == 0 ? 2.76 : 2.3 + 2000 * std::exp(-0.5 * step);
          return Sample{.loss = loss * std::exp(0.02 * noise.Normal()),
                        .ratio = step == 0 ? ratio : 2.4 / (1.0 + step)};
        },
        300);
    EXPECT_GE(told.FirstCritical(), 1) << told.Words();
    EXPECT_LE(told.FirstCritical(), 2) << told.Words();
  }
}

// A run that has learnt nearly all: its gradients are next to nothing but for the batches with the one hard example.
TEST(HardCasesTest, NormsSmallForTheRunAreNoWitness) {
  Noise noise(22);
  const Told told = Play(
      [&](int step) {
        const double learnt = std::exp(-step / 150.0) + 1e-4;
        const bool hard = step > 1000 && step % 97 < 4;
        const double norm = hard ? 0.5 : 2 * learnt;
        return Sample{.loss = (hard ? 0.02 : 0.7 * learnt) * std::exp(0.3 * noise.Normal()),
                      .norm = norm * std::exp(0.3 * noise.Normal())};
      },
      6000);
  EXPECT_EQ(told.Count("joint_growth"), 0) << told.Words();
}

// Above ten times its start a loss is lost, also while it falls slowly from a far higher peak.
TEST(HardCasesTest, ALossThatFallsSlowlyFromItsPeakIsLostUntilItIsBack) {
  Noise noise(23);
  const Told told = Play(
      [&](int step) {
        const double loss = step < 30 ? 40 : 4e6 * std::exp(-(step - 30) / 200.0);
        return Sample{.loss = loss * std::exp(0.05 * noise.Normal()), .ratio = 0.001};
      },
      1500);
  EXPECT_TRUE(told.IsCriticalNow()) << told.Words();
  EXPECT_LE(told.CountOf(v1::SEVERITY_CRITICAL), 3) << told.Words();
}

// However single losses scatter: the alert goes on while the run is lost, and a run that is lost does not teach the
// noise that it is judged by.
TEST(HardCasesTest, ARuinThatScattersIsOneAlertToTheEnd) {
  for (const double spread : {0.2, 0.5, 1.0, 1.5}) {
    SCOPED_TRACE(spread);
    Noise noise(18);
    const Told told = Play(
        [&](int step) {
          const double healthy = std::exp(0.05 * noise.Normal());
          return Sample{.loss = step < 300 ? healthy : 100 * std::exp(spread * noise.Normal())};
        },
        5000);
    EXPECT_EQ(told.Count("loss_divergence"), 1) << told.Words();
    EXPECT_TRUE(told.IsOpen("loss_divergence"));
  }
}

// Their scale is that of the losses that say something.
TEST(HardCasesTest, LossesOfEitherSignAfterZerosAreJudgedByTheirOwnScale) {
  for (const int zeros : {0, 1, 5, 20}) {
    SCOPED_TRACE(zeros);
    Noise noise(19);
    const Told told = Play(
        [&](int step) {
          return Sample{.loss = step < zeros ? 0 : 0.7 * std::exp(-step / 1000.0) - 0.2 + 0.1 * noise.Normal()};
        },
        3000);
    EXPECT_EQ(told.FirstCritical(), -1) << told.Words();
    EXPECT_EQ(told.Count("loss_jump"), 0) << told.Words();
  }
}

// A loss of 0 says nothing of where a run began; the first one that says something does.
TEST(HardCasesTest, LossesOfZeroAreNoStart) {
  for (const int zeros : {1, 3, 4, 5, 100}) {
    SCOPED_TRACE(zeros);
    Noise noise(17);
    const Told told = Play(
        [&](int step) {
          return Sample{.loss = step < zeros ? 0 : 0.7 * std::exp(-step / 1000.0 + 0.1 * noise.Normal())};
        },
        2000);
    EXPECT_EQ(told.FirstCritical(), -1) << told.Words();
  }
  // And is missed when it is lost.
  const Told lost = Play([&](int step) { return Sample{.loss = step < 3 ? 0.0 : step < 300 ? 0.7 : 70.0}; }, 400);
  EXPECT_GE(lost.FirstCritical(), 300) << lost.Words();
  EXPECT_LE(lost.FirstCritical(), 310) << lost.Words();
}

// Single losses of a run that has learnt nearly all differ by powers of ten; chance is far above all of them.
TEST(HardCasesTest, ACollapseToChanceIsToldWhateverTheNoiseWas) {
  for (const double spread : {0.3, 1.0, 1.5}) {
    SCOPED_TRACE(spread);
    Noise noise(3);
    DetectorHarness harness(v1::RuleSet{});
    Told told;
    const auto course = [&](int step) {
      const double learnt = std::max(1e-3, 2.76 * std::exp(-0.05 * step)) * std::exp(spread * noise.Normal());
      return Sample{.loss = step < 400 ? std::min(learnt, 3.0) : 2.303 + 0.01 * noise.Normal()};
    };
    Play(course, 0, 400, &harness, &told);
    EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << told.Words();
    Play(course, 400, 1500, &harness, &told);
    EXPECT_LE(told.FirstCritical(), 440) << told.Words();
    EXPECT_TRUE(told.IsOpen("loss_collapse")) << told.Words();
  }
}

TEST(HardCasesTest, ABadBatchOfARunWhoseNormsScatterIsTold) {
  Noise noise(4);
  const Told told = Play(
      [&](int step) {
        if (step == 300) return Sample{.loss = 865, .norm = 9575};
        return Sample{.loss = 1e-2 * std::exp(noise.Normal()), .norm = 0.05 * std::exp(1.2 * noise.Normal())};
      },
      301);
  for (const std::string rule : {"grad_norm_spike", "loss_jump"}) {
    EXPECT_FALSE(told.firings().empty());
    bool found = false;
    for (const v1::Alert& alert : told.firings()) found = found || (alert.rule() == rule && alert.step() == 300);
    EXPECT_TRUE(found) << rule << "\n" << told.Words();
  }
}

TEST(HardCasesTest, ABatchOfLossZeroBlindsNobody) {
  Noise noise(5);
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  const auto course = [&](int step) {
    if (step == 200) return Sample{.loss = 0};
    return Sample{.loss = (step < 300 ? 0.001 + std::exp(-0.05 * step) : 0.9) * std::exp(0.1 * noise.Normal())};
  };
  Play(course, 0, 300, &harness, &told);
  EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << told.Words();
  Play(course, 300, 320, &harness, &told);
  EXPECT_TRUE(told.IsCriticalNow()) << told.Words();
}

// What was measured before the level dropped says nothing about the updates of now.
TEST(HardCasesTest, RatiosOfLongAgoAreNoWitness) {
  Noise noise(6);
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  for (int step = 0; step < 500; ++step) {
    const double level = step < 400 ? 1 : 1.8;
    const double ratio = step < 90 ? 0.001 : 0.03;
    Show({.loss = level * std::exp(0.02 * noise.Normal()), .ratio = ratio}, &harness);
    if (step >= 100) harness.record().level = v1::STATISTICS_LEVEL_NORM;
    told.Add(harness.Step());
  }
  EXPECT_EQ(told.Count("joint_growth"), 0) << told.Words();
}

// Gradient descent on (w^4 - 1)^2 / 2 from a small w: the gradient grows for as long as it takes to leave the flat.
TEST(HardCasesTest, LeavingAFlatStartIsHealthy) {
  double w = 0.1;
  const Told told = Play(
      [&](int) {
        const double rest = std::pow(w, 4) - 1, gradient = 4 * std::pow(w, 3) * rest;
        const Sample sample = {.loss = rest * rest / 2 + 1e-12,
                               .norm = std::max(std::abs(gradient), 1e-30),
                               .ratio = std::abs(0.01 * gradient / w)};
        w -= 0.01 * gradient;
        return sample;
      },
      3000);
  EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << told.Words();
}

// As the adding problem does: the norm grows from .12 to 14 over hundreds of steps, while the loss falls by fits and
// starts to a tenth, and only then to less.
TEST(HardCasesTest, GradientsThatGrowWhileTheLossFallsByFitsAndStartsAreHealthy) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Noise noise(seed);
    const Told told = Play(
        [&](int step) {
          const double progress = std::clamp((step - 200) / 800.0, 0.0, 1.0);
          const double growth = std::exp(5 * std::min(1.0, std::max(0.0, (step - 190) / 350.0)));
          return Sample{.loss = (0.17 * std::pow(0.15, progress)) * std::exp(0.2 * noise.Wandering(0.8)),
                        .norm = (step < 50 ? 1.6 : 0.12 * growth) * std::exp(0.2 * noise.Normal())};
        },
        1000);
    EXPECT_EQ(told.Count("norm_growth"), 0) << told.Words();
  }
}

// A loss that falls excuses a norm, but not for ever; nor does it that the norm began higher.
TEST(HardCasesTest, ANormBeforeItsThousandfoldIsToldWhateverTheLossDoesAndWhereverItBegan) {
  for (const bool falls : {false, true}) {
    for (const double first : {1.0, 1000.0}) {
      SCOPED_TRACE(absl::StrCat(falls ? "the loss falls" : "the loss stays", ", the norm begins at ", first));
      Noise noise(5);
      const auto factor = [](int64_t step) {
        return std::pow(1.005, static_cast<double>(std::max<int64_t>(0, step - 100)));
      };
      const Told told = Play(
          [&](int step) {
            return Sample{.loss = (falls ? 2.3 * std::pow(0.999, step) : 2.3) * std::exp(0.02 * noise.Normal()),
                          .norm = (2 * factor(step) + first * std::exp(-step / 10.0)) * std::exp(0.1 * noise.Normal())};
          },
          1600);
      ASSERT_NE(told.FirstCritical(), -1);
      EXPECT_LT(factor(told.FirstCritical()), 1000) << told.Words();
    }
  }
}

// Hard examples among easy ones are no loss that is left, once it is known how often they come, some 250 steps after
// the others were learnt; where all are as the hard ones, it is.
TEST(HardCasesTest, WhatOnlyHardExamplesHadIsLostWhereAllHaveIt) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Noise noise(seed);
    const Course course = [&](int step) {
      const bool hard = step >= 1500 || noise.Uniform() < 0.2;
      const double loss = step < 50 || hard ? 3 : 0.02;
      return Sample{.loss = loss * std::exp(0.3 * noise.Normal()), .norm = std::exp(0.3 * noise.Normal())};
    };
    DetectorHarness harness(v1::RuleSet{});
    Told early, told;
    Play(course, 0, 350, &harness, &early);
    Play(course, 350, 1600, &harness, &told);
    EXPECT_GE(told.FirstCritical(), 1500) << told.Words();
    EXPECT_LE(told.FirstCritical(), 1500 + 30) << told.Words();
  }
}

// Two alerts of one run must not advise otherwise: what updates have replaced no change of the running job brings back.
TEST(HardCasesTest, OfReplacedWeightsEveryAlertAdvisesAnotherStart) {
  const Told told = Play(
      [](int step) {
        const double out = std::exp(2.0 * std::min(step, 60));
        return Sample{.loss = 2 * out, .norm = out, .ratio = 3};
      },
      80);
  ASSERT_EQ(told.Count("loss_divergence"), 1) << told.Words();
  for (const v1::Alert& alert : told.firings()) {
    for (const std::string& line : alert.diagnosis()) {
      if (alert.rule() != "loss_divergence") continue;
      EXPECT_EQ(line.find("gradwatch adjust"), std::string::npos) << line;
      EXPECT_EQ(line.find("gradwatch clip set"), std::string::npos) << line;
    }
  }
}

// Where nothing was learnt nothing can be back where it began.
TEST(HardCasesTest, ALossThatOnlyRisesHasNotCollapsed) {
  const Told told = Play([](int step) { return Sample{.loss = 1 + 0.01 * std::min(step, 300)}; }, 600);
  EXPECT_EQ(told.Count("loss_collapse"), 0) << told.Words();
}

// Losses around 10^-6 of the start wander by factors; nothing is lost by it.
TEST(HardCasesTest, WhatIsLearntMayWander) {
  Noise noise(7);
  const Told told = Play(
      [&](int step) {
        const double level = std::max(1e-6, 4 * std::exp(-0.05 * step));
        return Sample{
            .loss = level * (step > 1000 ? std::exp(2 + std::sin(0.01 * step)) : 1) * std::exp(0.3 * noise.Normal()),
            .norm = level * (step > 1000 ? 100 : 1) * std::exp(0.2 * noise.Normal())};
      },
      5000);
  EXPECT_EQ(told.Count("loss_divergence") + told.Count("joint_growth") + told.Count("loss_spike"), 0) << told.Words();
}

TEST(HardCasesTest, TheWorstValueOfAnEpisodeIsTheWorst) {
  Noise noise(8);
  DetectorHarness harness(v1::RuleSet{});
  Told told;
  Play([&](int) { return Sample{.norm = std::exp(0.2 * noise.Normal())}; }, 0, 100, &harness, &told);
  for (const double norm : {10.0, 100.0, 1e4, 1e6, 1e8, 10.0, 1.0, 1.0, 1.0, 1.0}) {
    Show({.loss = 1, .norm = norm}, &harness);
    told.Add(harness.Step());
  }
  Play([&](int) { return Sample{.norm = std::exp(0.2 * noise.Normal())}; }, 0, 100, &harness, &told);
  bool found = false;
  for (const v1::Alert& alert : told.resolved()) {
    if (alert.rule() != "norm_growth") continue;
    found = true;
    EXPECT_GE(alert.value(), 1e8);
    EXPECT_GT(alert.value(), alert.limit());
  }
  EXPECT_TRUE(found) << told.Words();
}

}  // namespace
}  // namespace gradwatch::core
