#include "core/clip/clipper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/core/clip/clip_harness.h"

namespace gradwatch::core {
namespace {

using ::testing::ElementsAre;
using Outcome = v1::ClipOutcome;

const std::vector<std::vector<int64_t>> kShapes = {{1}, {17}, {20, 15}};

template <typename T>
class ClipperTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ClipperTest, Scalars);

TYPED_TEST(ClipperTest, NoneLeavesEverythingAsItIs) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{30, 40}});
  const ClipOutcome& outcome = gradients.Clip(v1::ClipSettings());
  EXPECT_EQ(outcome.action, Outcome::ACTION_NOT_NEEDED);
  EXPECT_EQ(outcome.norm_after, 50);
  EXPECT_EQ(outcome.coefficient, 1);
  EXPECT_EQ(outcome.threshold, 0);
  EXPECT_THAT(gradients.Seen(0), ElementsAre(30, 40));
}

TYPED_TEST(ClipperTest, GlobalNormScalesAllTensorsTogether) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3}, {0, 4}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, 2.5));
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_DOUBLE_EQ(outcome.coefficient, 0.5);
  EXPECT_DOUBLE_EQ(outcome.norm_after, 2.5);
  EXPECT_EQ(outcome.tensors_clipped, 2);
  EXPECT_EQ(outcome.threshold, 2.5);
  EXPECT_THAT(gradients.Seen(0), ElementsAre(1.5));
  EXPECT_THAT(gradients.Seen(1), ElementsAre(0, 2));
}

TYPED_TEST(ClipperTest, GlobalNormAtOrBelowTheThresholdChangesNothing) {
  for (const double threshold : {5.0, 5.0000001, 100.0}) {
    ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3}, {4}});
    const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, threshold));
    EXPECT_EQ(outcome.action, Outcome::ACTION_NOT_NEEDED) << threshold;
    EXPECT_EQ(outcome.coefficient, 1);
    EXPECT_EQ(outcome.tensors_clipped, 0);
    EXPECT_THAT(gradients.Seen(0), ElementsAre(3));
    EXPECT_THAT(gradients.Seen(1), ElementsAre(4));
  }
}

TYPED_TEST(ClipperTest, PytorchCompatibleScalesAtTheThresholdToo) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{TypeParam(.6), TypeParam(.8)}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 1);
  settings.set_pytorch_compatible(true);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_NEAR(outcome.coefficient, 1 / 1.000001, 1e-7);
  EXPECT_NEAR(gradients.Seen(0)[0], .5999994, 6e-8);
  EXPECT_NEAR(gradients.Seen(0)[1], .7999992, 6e-8);
}

TYPED_TEST(ClipperTest, PytorchCompatibleLeavesASmallOrZeroGradientAlone) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 1);
  settings.set_pytorch_compatible(true);
  for (const TypeParam value : {TypeParam(0), TypeParam(.5)}) {
    ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{value, 0}});
    EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_NOT_NEEDED);
    EXPECT_THAT(gradients.Seen(0), ElementsAre(value, 0));
  }
}

TYPED_TEST(ClipperTest, TensorNormLimitsEachTensorByItself) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3, 4}, {6, 8}, {0}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_TENSOR_NORM, 5));
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.tensors_clipped, 1);
  EXPECT_EQ(outcome.coefficient, 1);
  EXPECT_DOUBLE_EQ(outcome.norm_after, std::sqrt(50.0));
  EXPECT_THAT(gradients.Seen(0), ElementsAre(3, 4));
  EXPECT_THAT(gradients.Seen(1), ElementsAre(3, 4));
}

TYPED_TEST(ClipperTest, ValueClampsEachElement) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{1, -2, 5, -7}, {2, 0}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_VALUE, 2));
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.tensors_clipped, 1);
  EXPECT_DOUBLE_EQ(outcome.norm_after, std::sqrt(17.0));
  EXPECT_THAT(gradients.Seen(0), ElementsAre(1, -2, 2, -2));
  EXPECT_THAT(gradients.Seen(1), ElementsAre(2, 0));
}

TYPED_TEST(ClipperTest, OverridesTakeTheFirstMatchAndLeaveTheGlobalNorm) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3}, {4}, {1000}, {50}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 2.5);
  AddOverride("t2", v1::CLIP_MODE_VALUE, 10, &settings);
  AddOverride("t[23]", v1::CLIP_MODE_VALUE, 1, &settings);  // no brackets in globs: matches nothing
  AddOverride("?3", v1::CLIP_MODE_NONE, 0, &settings);
  AddOverride("t2", v1::CLIP_MODE_VALUE, 1, &settings);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_DOUBLE_EQ(outcome.coefficient, 0.5);
  EXPECT_EQ(outcome.tensors_clipped, 3);
  EXPECT_DOUBLE_EQ(outcome.norm_after, std::sqrt(1.5 * 1.5 + 2 * 2 + 10 * 10 + 50 * 50));
  EXPECT_THAT(gradients.Seen(0), ElementsAre(1.5));
  EXPECT_THAT(gradients.Seen(1), ElementsAre(2));
  EXPECT_THAT(gradients.Seen(2), ElementsAre(10));
  EXPECT_THAT(gradients.Seen(3), ElementsAre(50));
}

TYPED_TEST(ClipperTest, OverridesHoldWithoutAModeToo) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3}, {4}});
  v1::ClipSettings settings;
  AddOverride("t1", v1::CLIP_MODE_TENSOR_NORM, 2, &settings);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.threshold, 0);
  EXPECT_THAT(gradients.Seen(1), ElementsAre(2));
}

TYPED_TEST(ClipperTest, NonFiniteGradientsSkipOrStopAndAreNotTouched) {
  using Limits = std::numeric_limits<TypeParam>;
  for (const TypeParam broken : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    for (const auto mode : {v1::CLIP_MODE_NONE, v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_VALUE}) {
      ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3, 4}, {broken, 100}});
      v1::ClipSettings settings = Settings(mode, 1);
      EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_SKIPPED);
      EXPECT_EQ(gradients.record().clip.norm_after, 0);
      EXPECT_EQ(gradients.record().clip.coefficient, 1);
      EXPECT_EQ(gradients.record().clip.tensors_clipped, 0);
      settings.set_non_finite(v1::NON_FINITE_ACTION_STOP);
      EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_STOPPED);
      EXPECT_THAT(gradients.Seen(0), ElementsAre(3, 4));
      EXPECT_EQ(gradients.Seen(1)[1], 100);
    }
  }
}

TYPED_TEST(ClipperTest, ZeroClearsWhatIsBrokenAndClipsTheRestByItsOwnNorm) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{nan, 3, inf}, {-inf, 4}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 2.5);
  settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_ZEROED);
  EXPECT_DOUBLE_EQ(outcome.coefficient, 0.5);
  EXPECT_DOUBLE_EQ(outcome.norm_after, 2.5);
  EXPECT_THAT(gradients.Seen(0), ElementsAre(0, 1.5, 0));
  EXPECT_THAT(gradients.Seen(1), ElementsAre(0, 2));
}

TYPED_TEST(ClipperTest, ZeroWithoutAModeOnlyClears) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{nan, 300}});
  v1::ClipSettings settings;
  settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_ZEROED);
  EXPECT_THAT(gradients.Seen(0), ElementsAre(0, 300));
}

TYPED_TEST(ClipperTest, AZeroGradientStaysZero) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{0, 0}});
    EXPECT_EQ(gradients.Clip(Settings(mode, 1)).action, Outcome::ACTION_NOT_NEEDED);
    EXPECT_THAT(gradients.Seen(0), ElementsAre(0, 0));
  }
}

TYPED_TEST(ClipperTest, HugeFiniteGradientsAreScaledAndNotWipedOut) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM}) {
    ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{std::vector<TypeParam>(100, TypeParam(1e20))});
    EXPECT_EQ(gradients.Clip(Settings(mode, 1)).action, Outcome::ACTION_CLIPPED);
    EXPECT_NEAR(gradients.SeenNorm(), 1, 1e-6);
  }
}

TYPED_TEST(ClipperTest, CoefficientsBelowTheRangeOfFloatStillWork) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{TypeParam(3e30), TypeParam(4e30)}});
  gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, 5e-20));
  EXPECT_NEAR(gradients.SeenNorm() / 5e-20, 1, 1e-6);
}

TYPED_TEST(ClipperTest, TheLimitedNormIsAtMostTheThreshold) {
  const double slack = 1 + 4 * std::numeric_limits<TypeParam>::epsilon();
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (const double threshold : {1e-6, 0.3, 1.0, 12.0}) {
      ClipHarness<TypeParam> gradients(kShapes);
      gradients.Randomize(1, seed);
      const double before = gradients.SeenNorm();
      const double after = gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, threshold)).norm_after;
      EXPECT_LE(gradients.SeenNorm(), threshold * slack);
      EXPECT_NEAR(gradients.SeenNorm() / after, 1, slack - 1);
      EXPECT_NEAR(after, std::min(before, threshold), threshold * (slack - 1));
    }
  }
}

TYPED_TEST(ClipperTest, ClippingTwiceChangesNothingBeyondRounding) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    ClipHarness<TypeParam> gradients(kShapes);
    gradients.Randomize(1, 3);
    gradients.Clip(Settings(mode, 0.5));
    gradients.Bake();
    const auto once = gradients.gradients();
    gradients.Clip(Settings(mode, 0.5));
    gradients.Bake();
    for (size_t i = 0; i < once.size(); ++i) {
      EXPECT_NEAR(gradients.gradients()[i], once[i],
                  2 * std::numeric_limits<TypeParam>::epsilon() * std::fabs(once[i]));
    }
  }
}

TYPED_TEST(ClipperTest, ScalingGradientAndThresholdScalesTheResult) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    ClipHarness<TypeParam> plain(kShapes), scaled(kShapes);
    plain.Randomize(1, 4);
    scaled.Randomize(1024, 4);  // a power of two: exact
    plain.Clip(Settings(mode, 0.5));
    scaled.Clip(Settings(mode, 512));
    plain.Bake();
    scaled.Bake();
    for (size_t i = 0; i < plain.gradients().size(); ++i) EXPECT_EQ(scaled.gradients()[i], 1024 * plain.gradients()[i]);
  }
}

TYPED_TEST(ClipperTest, ClippingByNormKeepsTheDirection) {
  ClipHarness<TypeParam> before(kShapes), after(kShapes);
  before.Randomize(1, 5);
  after.Randomize(1, 5);
  after.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, 0.1));
  after.Bake();
  double dot = 0;
  for (size_t i = 0; i < before.gradients().size(); ++i) dot += double{before.gradients()[i]} * after.gradients()[i];
  EXPECT_NEAR(dot / (before.SeenNorm() * after.SeenNorm()), 1, 1e-12);
}

TYPED_TEST(ClipperTest, NewSettingsReplaceTheOldOnes) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{8}});
  for (const double threshold : {4.0, 2.0}) {
    EXPECT_EQ(gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, threshold)).threshold, threshold);
    EXPECT_THAT(gradients.Seen(0), ElementsAre(threshold));
  }
}

TYPED_TEST(ClipperTest, LimitingANormLeavesTheGradientsToTheOptimizer) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM}) {
    ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{3, 4}});
    gradients.Clip(Settings(mode, 1));
    EXPECT_THAT(gradients.gradient(0), ElementsAre(3, 4));
    EXPECT_DOUBLE_EQ(gradients.record().tensors[0].clip_scale, 0.2);
    gradients.Clip(Settings(mode, 5));
    EXPECT_EQ(gradients.record().tensors[0].clip_scale, 1) << "of the last step nothing is left";
  }
}

TYPED_TEST(ClipperTest, AdaptiveLimitsEachUnitByItsWeights) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<int64_t>>{{3, 2}, {2}});
  std::ranges::copy(std::vector<TypeParam>{3, 4, 3, 4, 0.3, 0.4}, gradients.gradient(0).begin());
  std::ranges::copy(std::vector<TypeParam>{30, 40, 0, 0, 3, 4}, gradients.weights(0).begin());
  std::ranges::copy(std::vector<TypeParam>{6, 8}, gradients.gradient(1).begin());  // one unit of weight sqrt(2)
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_ADAPTIVE, 0.05);
  settings.mutable_adaptive()->set_epsilon(0.01);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.units_clipped, 4);
  EXPECT_EQ(outcome.tensors_clipped, 2);
  EXPECT_EQ(outcome.threshold, 0.05);
  const std::vector<double> want = {1.5, 2, 0.0003, 0.0004, 0.15, 0.2};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(gradients.Seen(0)[i], want[i], 1e-6 * want[i]) << i;
  EXPECT_NEAR(gradients.Seen(1)[1] / (0.05 * std::sqrt(2.0) * 0.8), 1, 1e-6);
  EXPECT_NEAR(outcome.norm_after / gradients.SeenNorm(), 1, 1e-6);
}

TYPED_TEST(ClipperTest, AUnitThatStartsAtZeroMayMove) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<int64_t>>{{1, 2}});
  std::ranges::fill(gradients.weights(0), TypeParam{0});
  std::ranges::copy(std::vector<TypeParam>{3, 4}, gradients.gradient(0).begin());
  gradients.Clip(Settings(v1::CLIP_MODE_ADAPTIVE));
  EXPECT_NEAR(gradients.SeenNorm() / (0.01 * 0.001), 1, 1e-6) << "the defaults: factor times epsilon";
}

TYPED_TEST(ClipperTest, ABrokenWeightDoesNotBreakTheGradient) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<int64_t>>{{2, 1}});
  gradients.weights(0)[0] = std::numeric_limits<TypeParam>::quiet_NaN();
  std::ranges::fill(gradients.gradient(0), TypeParam{1});
  gradients.Clip(Settings(v1::CLIP_MODE_ADAPTIVE, 0.5));
  EXPECT_NEAR(gradients.Seen(0)[0], 0.0005, 1e-9) << "as a unit at zero";
  EXPECT_NEAR(gradients.Seen(0)[1], 0.5, 1e-9);
}

TYPED_TEST(ClipperTest, ValueTellsHowManyElementsItClamped) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{1, -2, 5, -7}, {2, 9}, {0.5}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_VALUE, 2));
  EXPECT_EQ(outcome.elements_clipped, 3);
  EXPECT_EQ(outcome.tensors_clipped, 2);
}

TYPED_TEST(ClipperTest, NoElementIsBeyondTheValueInItsOwnType) {
  for (const double limit : {0.1, 1e-3, 1 / 3.0, 1e-300, 1e300}) {
    ClipHarness<TypeParam> gradients(kShapes);
    gradients.Randomize(1, 6);
    gradients.Clip(Settings(v1::CLIP_MODE_VALUE, limit));
    for (const TypeParam value : gradients.gradients()) EXPECT_LE(std::fabs(double{value}), limit);
  }
}

TYPED_TEST(ClipperTest, SpamCutsElementsToTheirSecondMoment) {
  ClipHarness<TypeParam> gradients(std::vector<std::vector<TypeParam>>{{1, -30, 30, 30}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_SPAM);
  settings.mutable_spam()->set_theta(4);
  std::ranges::copy(std::vector<TypeParam>{1, 1, 0, 400}, gradients.moment(0).begin());
  gradients.clipper().Configure(settings);
  for (int step = 1; step < SpamSchedule::kSettleSteps; ++step) {
    EXPECT_EQ(gradients.Clip().action, Outcome::ACTION_NOT_NEEDED) << step;
    EXPECT_EQ(gradients.record().clip.threshold, 0);
  }
  const ClipOutcome& outcome = gradients.Clip();
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.elements_clipped, 1);
  EXPECT_EQ(outcome.threshold, 4);
  EXPECT_THAT(gradients.Seen(0), ElementsAre(1, -2, 30, 30)) << "without a second moment nothing is known";
  EXPECT_NEAR(outcome.norm_after, gradients.SeenNorm(), 1e-6);
}

TYPED_TEST(ClipperTest, SpamWithoutASecondMomentLeavesGradientsAlone) {
  ClipHarness<TypeParam> gradients(kShapes);
  gradients.clipper().Configure(Settings(v1::CLIP_MODE_SPAM));
  gradients.Randomize(1, 1);
  const auto before = gradients.gradients();
  auto arena = before;
  for (int step = 0; step < 30; ++step) {
    gradients.Measure();
    gradients.clipper().Apply({arena, arena, {}}, &gradients.record());
    EXPECT_EQ(gradients.record().clip.action, Outcome::ACTION_NOT_NEEDED);
  }
  EXPECT_EQ(arena, before);
}

}  // namespace
}  // namespace gradwatch::core
