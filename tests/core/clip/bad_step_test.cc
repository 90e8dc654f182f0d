// No step may poison what a mode remembers: not one that is not finite, nor a huge one, nor empty ones.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/core/clip/clip_harness.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

using Outcome = v1::ClipOutcome;
constexpr int kSteps = 70;  // the last one is a spike

template <typename T>
class BadStepTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(BadStepTest, Scalars);

std::string NameOf(const v1::ClipSettings& settings) { return v1::ClipMode_Name(settings.mode()); }

template <typename T>
void Calm(ClipHarness<T>* harness, int step) {
  Random scale(3, RandomStream::kSyntheticData, static_cast<uint64_t>(step));
  harness->Randomize(0.2 * std::exp(0.1 * scale.NextNormal()), static_cast<uint64_t>(step));
}

// What the optimizer sees of the spike after calm steps, among which, before step `when`, `bad` was one.
template <typename T>
struct Ending {
  std::vector<std::vector<T>> seen;
  ClipOutcome outcome;
};

template <typename T, typename Bad>
Ending<T> SpikeAfter(const v1::ClipSettings& settings, int when, Bad bad) {
  ClipHarness<T> harness(std::vector<std::vector<int64_t>>{{1}, {6}, {4, 5}});
  harness.clipper().Configure(settings);
  for (int step = 0; step < kSteps; ++step) {
    if (step == when) {
      Calm(&harness, 1000);
      if (bad(&harness)) {
        harness.Clip();
        harness.UpdateMoment();
        harness.record().loss = 0;
      }
    }
    Calm(&harness, step);
    if (step == kSteps - 1) {
      for (size_t i = 0; i < harness.tensors(); ++i) {
        for (T& value : harness.gradient(i)) value *= 1000;
      }
    }
    harness.Clip();
    harness.UpdateMoment();
  }
  Ending<T> ending{{}, harness.record().clip};
  for (size_t i = 0; i < harness.tensors(); ++i) ending.seen.push_back(harness.Seen(i));
  return ending;
}

template <typename T>
Ending<T> SpikeAfterNothing(const v1::ClipSettings& settings) {
  return SpikeAfter<T>(settings, -1, [](auto*) { return false; });
}

// In the warm-up, at its end and after it.
constexpr int kWhen[] = {0, 1, 12, 19, 20, 24, 25, 45, 62, kSteps - 1};

TYPED_TEST(BadStepTest, ANonFiniteStepIsAsIfItHadNeverBeen) {
  using Limits = std::numeric_limits<TypeParam>;
  for (const v1::ClipSettings& settings : EveryMode()) {
    const Ending<TypeParam> clean = SpikeAfterNothing<TypeParam>(settings);
    ASSERT_EQ(clean.outcome.action, Outcome::ACTION_CLIPPED) << NameOf(settings);
    for (const TypeParam broken : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
      for (const int when : kWhen) {
        const Ending<TypeParam> ending = SpikeAfter<TypeParam>(settings, when, [broken](auto* harness) {
          harness->gradient(2)[7] = broken;
          return true;
        });
        EXPECT_EQ(ending.seen, clean.seen) << NameOf(settings) << " " << broken << " before step " << when;
        EXPECT_EQ(ending.outcome.threshold, clean.outcome.threshold);
        EXPECT_EQ(ending.outcome.norm_after, clean.outcome.norm_after);
      }
    }
  }
}

// Finite gradients of a loss that is not: a step is broken by either.
TYPED_TEST(BadStepTest, ALossThatIsNotFiniteIsAnsweredLikeAGradient) {
  for (v1::ClipSettings settings : EveryMode()) {
    const Ending<TypeParam> clean = SpikeAfterNothing<TypeParam>(settings);
    for (const auto action :
         {v1::NON_FINITE_ACTION_SKIP_STEP, v1::NON_FINITE_ACTION_STOP, v1::NON_FINITE_ACTION_ZERO}) {
      settings.set_non_finite(action);
      const bool zero = action == v1::NON_FINITE_ACTION_ZERO;
      ClipHarness<TypeParam> harness(std::vector<std::vector<int64_t>>{{1}, {6}, {4, 5}});
      harness.Randomize(1, 1);
      harness.record().loss = std::numeric_limits<double>::infinity();
      const Outcome::Action expected = zero                                   ? Outcome::ACTION_ZEROED
                                       : action == v1::NON_FINITE_ACTION_STOP ? Outcome::ACTION_STOPPED
                                                                              : Outcome::ACTION_SKIPPED;
      EXPECT_EQ(harness.Clip(settings).action, expected) << NameOf(settings);
      // An update of the gradients that there are takes part in SPAM's memory, which is the optimizer's.
      if (zero && settings.mode() == v1::CLIP_MODE_SPAM) continue;
      for (const double loss : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        for (const int when : kWhen) {
          const Ending<TypeParam> ending = SpikeAfter<TypeParam>(settings, when, [loss, zero](auto* harness) {
            for (TypeParam& value : harness->gradient(2)) value *= zero ? 500 : 1;
            harness->record().loss = loss;
            return true;
          });
          EXPECT_EQ(ending.seen, clean.seen) << NameOf(settings) << " " << loss << " before step " << when;
          EXPECT_EQ(ending.outcome.threshold, clean.outcome.threshold);
        }
      }
    }
  }
}

TYPED_TEST(BadStepTest, AZeroedStepIsLimitedButNotRemembered) {
  for (v1::ClipSettings settings : EveryMode()) {
    if (settings.mode() == v1::CLIP_MODE_SPAM) continue;  // its memory is the optimizer's, which takes an update
    settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
    const Ending<TypeParam> clean = SpikeAfterNothing<TypeParam>(settings);
    for (const int when : kWhen) {
      const Ending<TypeParam> ending = SpikeAfter<TypeParam>(settings, when, [](auto* harness) {
        for (size_t i = 0; i < harness->tensors(); ++i) {
          for (TypeParam& value : harness->gradient(i)) value *= 500;
        }
        harness->gradient(2)[7] = std::numeric_limits<TypeParam>::quiet_NaN();
        return true;
      });
      EXPECT_EQ(ending.seen, clean.seen) << NameOf(settings) << " before step " << when;
    }
  }
}

TYPED_TEST(BadStepTest, AHugeStepDoesNotBlind) {
  for (const v1::ClipSettings& settings : EveryMode()) {
    const Ending<TypeParam> clean = SpikeAfterNothing<TypeParam>(settings);
    for (const int when : kWhen) {
      // The first steps of SPAM after a reset are not protected, and Adam itself would be poisoned.
      if (settings.mode() == v1::CLIP_MODE_SPAM && (when + 1) % 40 < SpamSchedule::kSettleSteps) continue;
      const Ending<TypeParam> ending = SpikeAfter<TypeParam>(settings, when, [](auto* harness) {
        std::ranges::fill(harness->gradient(1), TypeParam(1e20));
        std::ranges::fill(harness->gradient(2), TypeParam(-1e20));
        return true;
      });
      EXPECT_EQ(ending.outcome.action, Outcome::ACTION_CLIPPED) << NameOf(settings) << " before step " << when;
      // SPAM: the cut element itself has raised its second moment six times.
      const double slack = settings.mode() == v1::CLIP_MODE_SPAM ? 2.5 : 1.15;
      EXPECT_LT(ending.outcome.norm_after, slack * clean.outcome.norm_after) << NameOf(settings) << " " << when;
      EXPECT_GT(ending.outcome.norm_after, clean.outcome.norm_after / 1.15) << NameOf(settings) << " " << when;
    }
  }
}

TYPED_TEST(BadStepTest, EmptyStepsDoNotFreeze) {
  for (const v1::ClipSettings& settings : EveryMode()) {
    if (settings.mode() == v1::CLIP_MODE_SPAM) continue;  // counts them: they are updates
    const Ending<TypeParam> clean = SpikeAfterNothing<TypeParam>(settings);
    for (const int when : kWhen) {
      const Ending<TypeParam> ending = SpikeAfter<TypeParam>(settings, when, [](auto* harness) {
        for (int repeat = 0; repeat < 30; ++repeat) {
          for (size_t i = 0; i < harness->tensors(); ++i) std::ranges::fill(harness->gradient(i), TypeParam{0});
          EXPECT_EQ(harness->Clip().action, Outcome::ACTION_NOT_NEEDED);
          EXPECT_EQ(harness->record().clip.norm_after, 0);
        }
        return false;
      });
      EXPECT_EQ(ending.seen, clean.seen) << NameOf(settings) << " before step " << when;
    }
  }
}

TYPED_TEST(BadStepTest, ATensorThatIsEmptyForAWhileIsNotFrozen) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_ADAGC);
  settings.mutable_adagc()->set_warmup_steps(20);
  ClipHarness<TypeParam> harness(std::vector<std::vector<int64_t>>{{4}, {4}});
  harness.clipper().Configure(settings);
  for (int step = 0; step < 60; ++step) {
    harness.Randomize(0.1, static_cast<uint64_t>(step));
    if (step < 40) std::ranges::fill(harness.gradient(1), TypeParam{0});
    harness.Clip();
  }
  EXPECT_GT(harness.Seen(1)[0] / harness.gradient(1)[0], 0.3);
}

TYPED_TEST(BadStepTest, AConstantWarmUpOfZClipLeavesRoom) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_ZCLIP);
  settings.mutable_zclip()->set_max_norm(0);
  ClipHarness<TypeParam> harness(std::vector<std::vector<TypeParam>>{{3, 4}});
  harness.clipper().Configure(settings);
  for (int step = 0; step < 40; ++step) EXPECT_EQ(harness.Clip().action, Outcome::ACTION_NOT_NEEDED);
  EXPECT_NEAR(harness.record().clip.threshold, 5 * 1.025, 1e-6) << "2.5 times a hundredth above the mean";
  std::ranges::copy(std::vector<TypeParam>{3.06, 4.08}, harness.gradient(0).begin());
  EXPECT_EQ(harness.Clip().action, Outcome::ACTION_NOT_NEEDED) << "2 % above";
  std::ranges::copy(std::vector<TypeParam>{30, 40}, harness.gradient(0).begin());
  EXPECT_EQ(harness.Clip().action, Outcome::ACTION_CLIPPED);
  EXPECT_LT(harness.record().clip.norm_after, 5.2);
  EXPECT_GT(harness.record().clip.norm_after, 5);
}

TYPED_TEST(BadStepTest, OneElementIsEnoughForEveryMode) {
  for (const v1::ClipSettings& settings : EveryMode()) {
    ClipHarness<TypeParam> harness(std::vector<std::vector<int64_t>>{{1}});
    harness.clipper().Configure(settings);
    for (int step = 0; step < kSteps; ++step) {
      harness.gradient(0)[0] = static_cast<TypeParam>(step == kSteps - 1 ? 1000 : 0.5 + 0.01 * (step % 7));
      harness.Clip();
      harness.UpdateMoment();
    }
    EXPECT_EQ(harness.record().clip.action, Outcome::ACTION_CLIPPED) << NameOf(settings);
    const double seen = harness.Seen(0)[0];
    EXPECT_GT(seen, 0) << NameOf(settings);
    EXPECT_LT(seen, 100) << NameOf(settings);
    EXPECT_NEAR(harness.record().clip.norm_after / seen, 1, 1e-6);
  }
}

TYPED_TEST(BadStepTest, OverridesStandBesideEveryMode) {
  const std::vector<std::vector<int64_t>> alone = {{1}, {17}};
  const std::vector<std::vector<int64_t>> beside = {{1}, {17}, {9}, {9}, {3, 3}, {9}};
  for (v1::ClipSettings settings : EveryMode()) {
    ClipHarness<TypeParam> plain(alone), mixed(beside);
    plain.clipper().Configure(settings);
    AddOverride("t2", v1::CLIP_MODE_NONE, 0, &settings);
    AddOverride("?3", v1::CLIP_MODE_VALUE, 2, &settings);
    AddOverride("t4", v1::CLIP_MODE_ADAPTIVE, 0.5, &settings);
    AddOverride("t5*", v1::CLIP_MODE_TENSOR_NORM, 7, &settings);
    mixed.clipper().Configure(settings);
    for (int step = 0; step < kSteps; ++step) {
      for (auto* harness : {&plain, &mixed}) {
        Calm(harness, step);
        if (step == kSteps - 1) {
          for (const size_t i : {0, 1}) {
            for (TypeParam& value : harness->gradient(i)) value *= 1000;
          }
        }
      }
      for (const size_t i : {2, 3, 4, 5}) std::ranges::fill(mixed.gradient(i), TypeParam(100 + step));
      for (auto* harness : {&plain, &mixed}) {
        harness->Clip();
        harness->UpdateMoment();
      }
      ASSERT_EQ(mixed.Seen(0), plain.Seen(0)) << NameOf(settings) << " " << step;
      ASSERT_EQ(mixed.Seen(1), plain.Seen(1)) << NameOf(settings) << " " << step;
      ASSERT_EQ(mixed.record().clip.coefficient, plain.record().clip.coefficient);
      ASSERT_EQ(mixed.Seen(2)[0], 100 + step);
      ASSERT_EQ(mixed.Seen(3)[0], 2);
      ASSERT_NEAR(mixed.Seen(4)[0], 0.5, 1e-6);
      ASSERT_NEAR(mixed.Seen(5)[0], 7 / 3.0, 1e-6);
    }
    EXPECT_EQ(plain.record().clip.action, Outcome::ACTION_CLIPPED) << NameOf(settings);
    EXPECT_EQ(mixed.record().clip.tensors_clipped, plain.record().clip.tensors_clipped + 3) << NameOf(settings);
  }
}

TYPED_TEST(BadStepTest, NothingIsAllocated) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "this build does not count allocations";
  for (v1::ClipSettings settings : EveryMode()) {
    settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
    settings.mutable_autoclip()->set_history(50);
    ClipHarness<TypeParam> harness(std::vector<std::vector<int64_t>>{{1}, {6}, {4, 5}});
    harness.clipper().Configure(settings);
    for (int step = 0; step < 200; ++step) {
      Calm(&harness, step);
      if (step % 50 == 30) harness.gradient(0)[0] = std::numeric_limits<TypeParam>::infinity();
      const int64_t before = testing::AllocationCount();
      harness.Clip();
      ASSERT_EQ(testing::AllocationCount(), before) << NameOf(settings) << " " << step;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
