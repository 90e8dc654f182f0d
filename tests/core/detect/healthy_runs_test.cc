// Health is left in peace: of runs that are well, or get well by themselves, no default rule says that they are lost,
// however their noise falls and whatever the learning rate does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/core/detect/detector_harness.h"
#include "tests/core/detect/synthetic_run.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::Course;
using ::gradwatch::testing::Noise;
using ::gradwatch::testing::Play;
using ::gradwatch::testing::Sample;
using ::gradwatch::testing::Told;

void ExpectNothingCritical(const Course& course, int steps) {
  const Told told = Play(course, steps);
  EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << told.Words();
}

struct HealthyRun {
  std::string name;
  int warnings;  // at most
  std::function<Sample(double step, Noise* noise)> sample;
};

// Models of losses and norms. In none of them are all logarithms normal, independent and of one level, which is where a
// rule is safe by its definition.
std::vector<HealthyRun> HealthyRuns() {
  return {
      {"noise of 0.3, and a tenth of it on the loss", 0,
       [](double, Noise* n) {
         return Sample{.loss = std::exp(0.03 * n->Normal()), .norm = std::exp(0.3 * n->Normal())};
       }},
      {"noise of 0.5, small batches", 0,
       [](double, Noise* n) {
         return Sample{.loss = std::exp(0.5 * n->Normal()), .norm = std::exp(0.5 * n->Normal())};
       }},
      {"norms that wander for tens of steps", 0,
       [](double, Noise* n) {
         const double wandering = n->Wandering(0.95);
         return Sample{.loss = std::exp(0.1 * wandering + 0.1 * n->Normal()), .norm = std::exp(0.3 * wandering)};
       }},
      {"norms with Student's tails", 5,
       [](double, Noise* n) {
         return Sample{.loss = std::exp(0.1 * n->StudentT(5)), .norm = std::exp(0.3 * n->StudentT(5))};
       }},
      {"losses with heavy tails: one in a thousand is ten times the usual", 60,
       [](double, Noise* n) {
         const double hard = n->Pareto(3);
         return Sample{.loss = hard * std::exp(0.05 * n->Normal()),
                       .norm = std::sqrt(hard) * std::exp(0.2 * n->Normal())};
       }},
      {"a loss that falls by a power law", 0,
       [](double t, Noise* n) {
         return Sample{.loss = 5 * std::pow(1 + t, -0.3) * std::exp(0.1 * n->Normal()),
                       .norm = std::pow(1 + t, -0.1) * std::exp(0.3 * n->Normal())};
       }},
      {"norms that rise threefold while the loss falls", 0,
       [](double t, Noise* n) {
         return Sample{.loss = 1 + 4 * std::exp(-t / 3000) + 0.05 * n->Normal(),
                       .norm = (1 + t / 10'000) * std::exp(0.3 * n->Normal())};
       }},
      {"a loss that is lower from epoch to epoch, and rises within each", 0,
       [](double t, Noise* n) {
         const double epoch = std::floor(t / 500), within = t / 500 - epoch;
         return Sample{.loss = (0.3 + 2 * std::pow(0.9, epoch)) * (1 + 0.2 * within) * std::exp(0.05 * n->Normal()),
                       .norm = (1 + within) * std::exp(0.2 * n->Normal())};
       }},
      {"batches of two kinds, the one three times as hard", 0,
       [](double t, Noise* n) {
         const double hard = std::fmod(t, 4) < 1 ? 3 : 1;
         return Sample{.loss = hard * std::exp(0.05 * n->Normal()), .norm = hard * std::exp(0.2 * n->Normal())};
       }},
      {"batches of one: one example in five is hard, the others are known", 4000,
       [](double t, Noise* n) {
         const double usual = n->Uniform() < 0.2 ? 3 : 0.02 + std::exp(-t / 100);
         const double loss = usual * std::exp(0.5 * n->Normal());
         return Sample{.loss = loss, .norm = 1 - std::exp(-loss), .ratio = 0.005};
       }},
      {"noise that grows as the loss comes near 0", 3,
       [](double t, Noise* n) {
         const double spread = std::min(1.0, 0.1 + t / 5000);
         return Sample{.loss = std::exp(-t / 2000 + spread * n->Normal()),
                       .norm = std::exp(-t / 4000 + 0.5 * n->Normal())};
       }},
      {"losses of a policy: normal, of either sign, far wider than their mean", 5,
       [](double t, Noise* n) {
         return Sample{.loss = 0.02 * n->Normal() - 0.01 * t / 20'000, .norm = std::exp(0.4 * n->Normal())};
       }},
      {"a fixed batch: nothing but a smooth fall", 0,
       [](double t, Noise*) { return Sample{.loss = std::exp(-t / 1000) + 1e-6, .norm = std::exp(-t / 2000) + 1e-5}; }},
  };
}

class HealthyRunTest : public ::testing::TestWithParam<int> {};

TEST_P(HealthyRunTest, HasNoCriticalAlertInTwentyThousandSteps) {
  const HealthyRun run = HealthyRuns()[GetParam()];
  SCOPED_TRACE(run.name);
  Noise noise(20 + GetParam());
  const Told told = Play([&](int step) { return run.sample(step, &noise); }, 20'000);
  EXPECT_EQ(told.CountOf(v1::SEVERITY_CRITICAL), 0) << told.Words();
  EXPECT_LE(told.CountOf(v1::SEVERITY_WARNING), run.warnings) << told.Words();
}

INSTANTIATE_TEST_SUITE_P(Models, HealthyRunTest, ::testing::Range(0, static_cast<int>(HealthyRuns().size())));

// A loss of 1 and its norm, with little noise, times `factor` from `at` on, as long as there are factors.
Course Excursion(int at, std::vector<double> factors, Noise* noise) {
  return [=](int step) {
    const bool is_out = step >= at && step - at < static_cast<int>(factors.size());
    const double factor = is_out ? factors[step - at] : 1;
    return Sample{.loss = factor * std::exp(0.05 * noise->Normal()),
                  .norm = std::sqrt(factor) * std::exp(0.2 * noise->Normal())};
  };
}

TEST(HealthyCourseTest, ALossThatIsThrownBackAndComesBackIsNotLost) {
  // A thousand times for three steps and back in ten: a catapult, of a rate beyond the edge of stability.
  for (const int at : {5, 30, 100, 1000}) {
    Noise noise(40);
    ExpectNothingCritical(Excursion(at, {1e3, 1e3, 1e3, 370, 140, 50, 19, 7, 2.6, 1.2}, &noise), at + 300);
  }
  // Single steps, of any height, one after another.
  for (const double height : {10.0, 1e3, 1e8}) {
    Noise noise(41);
    const Course once = Excursion(200, {height, std::sqrt(height)}, &noise);
    ExpectNothingCritical(once, 300);
  }
}

TEST(HealthyCourseTest, AdamThatThrowsARecurrentNetworkFarOutAtItsFirstStepIsNotLost) {
  // Identity at the start, ReLU: a hundred million times the loss at step 1, back by step 5, updates of a twentieth.
  Noise noise(42);
  const std::vector<double> factors = {1e8, 1e6, 1e4, 30, 1.2};
  ExpectNothingCritical(
      [&](int step) {
        const double out = step >= 1 && step <= 5 ? factors[step - 1] : 1;
        return Sample{.loss = out * std::exp(-step / 400.0 + 0.1 * noise.Normal()),
                      .norm = std::sqrt(out) * std::exp(0.3 * noise.Normal()),
                      .ratio = step <= 5 ? 0.05 : 0.005};
      },
      2000);
}

TEST(HealthyCourseTest, TheEdgeOfStabilityIsNotLost) {
  // Up and down by up to a factor of two, in bursts, while the loss falls to a hundredth.
  Noise noise(43);
  ExpectNothingCritical(
      [&](int step) {
        const double burst = 0.5 * (1 + std::sin(step / 37.0));
        const double swing = (step % 2 == 0 ? 1 : -1) * burst * std::log(2) / 2;
        return Sample{.loss = std::exp(-step / 1000.0 + swing + 0.01 * noise.Normal()),
                      .norm = std::exp(-step / 2000.0 + 2 * swing + 0.05 * noise.Normal())};
      },
      5000);
}

// What a run shows under a rate, of which the largest is 1: updates are in proportion to it, and the loss is the higher
// and the noisier the higher the rate is.
Course Under(std::function<double(int)> rate, Noise* noise) {
  return [=](int step) {
    const double r = rate(step);
    return Sample{
        .loss = (0.5 + 2 * std::exp(-step / 300.0)) * (1 + 0.3 * r) * std::exp(0.05 * (1 + r) * noise->Normal()),
        .norm = std::exp(0.2 * noise->Normal()),
        .rate = 0.1 * r,
        .ratio = 0.01 * r * std::exp(0.1 * noise->Normal())};
  };
}

double Cosine(double progress) { return 0.5 * (1 + std::cos(std::acos(-1.0) * progress)); }

TEST(HealthyCourseTest, AWarmUpOfAnyLengthIsNoExplosion) {
  for (const int length : {1, 5, 20, 50, 100, 200, 300, 500, 1000}) {
    SCOPED_TRACE(length);
    Noise noise(44);
    ExpectNothingCritical(Under([&](int step) { return std::min(1.0, (step + 1.0) / length); }, &noise), 1500);
    // From 0, by a first step that changes nothing.
    ExpectNothingCritical(Under([&](int step) { return std::min(1.0, 1.0 * step / length); }, &noise), 1500);
    // And a second one, after a rest, up to what there was.
    ExpectNothingCritical(
        Under([&](int step) { return std::clamp(step < 600 ? 0.5 : 0.5 + (step - 600.0) / length / 2, 0.0, 1.0); },
              &noise),
        2500);
  }
}

TEST(HealthyCourseTest, CyclesAndRestartsOfTheRateAreNoExplosion) {
  const std::vector<std::pair<const char*, std::function<double(int)>>> rates = {
      {"cosine", [](int step) { return Cosine(std::min(1.0, step / 4000.0)); }},
      {"warm restarts", [](int step) { return Cosine(step % 500 / 500.0); }},
      {"restarts that become longer",
       [](int step) {
         int begin = 0, length = 100;
         for (; step >= begin + length; length *= 2) begin += length;
         return Cosine(static_cast<double>(step - begin) / length);
       }},
      {"triangles", [](int step) { return 0.1 + 0.9 * std::abs(1 - step % 400 / 200.0); }},
      {"triangles from low", [](int step) { return 0.05 + 0.95 * (1 - std::abs(1 - step % 200 / 100.0)); }},
      {"one cycle",
       [](int step) { return step < 1200 ? 0.04 + 0.96 * Cosine(1 - step / 1200.0) : Cosine((step - 1200.0) / 2800); }},
      {"a tenth, twice", [](int step) { return step < 1000   ? 1
                                               : step < 2500 ? 0.1
                                                             : 0.01; }},
      {"raised by hand", [](int step) { return step < 1000   ? 0.1
                                               : step < 2000 ? 0.3
                                                             : 1; }},
      {"inverse square root", [](int step) { return step < 200 ? (step + 1) / 200.0 : std::sqrt(200.0 / (step + 1)); }},
  };
  for (const auto& [name, rate] : rates) {
    SCOPED_TRACE(name);
    Noise noise(45);
    ExpectNothingCritical(Under(rate, &noise), 4000);
  }
}

TEST(HealthyCourseTest, APlateauAndSuddenUnderstandingAreNoExplosion) {
  // The loss of guessing for 2,000 steps, a hundredth of it 200 steps later; the norm is tenfold on the way, and later
  // there are small relapses.
  Noise noise(46);
  ExpectNothingCritical(
      [&](int step) {
        const double learnt = std::clamp((step - 2000) / 200.0, 0.0, 1.0);
        const double relapse = step > 2500 && step % 600 < 3 ? 3 : 1;
        const double hump = std::exp(-std::pow((step - 2100) / 60.0, 2));
        return Sample{.loss = 2.3 * relapse * std::exp(std::log(0.01) * learnt + 0.03 * noise.Normal()),
                      .norm = std::exp(std::log(10) * hump + 0.3 * noise.Normal())};
      },
      6000);
}

TEST(HealthyCourseTest, LossesNearZeroHaveNoiseOfPowersOfTen) {
  for (const double floor : {1e-6, 1e-12, 1e-30}) {
    SCOPED_TRACE(floor);
    Noise noise(47);
    ExpectNothingCritical(
        [&](int step) {
          const double log_loss = std::log(floor) * std::min(1.0, step / 1000.0);
          const double spread = 2.3 * std::min(1.0, step / 1000.0);
          return Sample{.loss = std::exp(log_loss + spread * noise.Normal()),
                        .norm = std::exp(log_loss / 2 + (0.2 + spread / 2) * noise.Normal())};
        },
        5000);
  }
}

TEST(HealthyCourseTest, LossesMayBeZeroAndBelow) {
  struct Fall {
    const char* name;
    double first, last;
  };
  for (const Fall& fall : {Fall{"through 0", 2, -50}, Fall{"below 0", -5, -40}, Fall{"to 0 itself", 3, 0}}) {
    SCOPED_TRACE(fall.name);
    Noise noise(48);
    ExpectNothingCritical(
        [&](int step) {
          const double progress = std::min(1.0, step / 1500.0);
          const double loss = fall.first + (fall.last - fall.first) * progress;
          return Sample{.loss = fall.last == 0 && progress == 1 ? 0 : loss + 0.05 * noise.Normal() * std::abs(loss),
                        .norm = std::exp(0.3 * noise.Normal())};
        },
        3000);
  }
}

}  // namespace
}  // namespace gradwatch::core
