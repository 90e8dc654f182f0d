#include "core/clip/clipper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/stats/gradient_statistics.h"

namespace gradwatch::core {
namespace {

using ::testing::ElementsAre;
using Outcome = v1::ClipOutcome;

v1::ClipSettings Settings(v1::ClipMode mode, double threshold) {
  v1::ClipSettings settings;
  settings.set_mode(mode);
  settings.set_threshold(threshold);
  return settings;
}

void AddOverride(const std::string& tensors, v1::ClipMode mode, double threshold, v1::ClipSettings* settings) {
  v1::TensorClip* limit = settings->add_overrides();
  limit->set_tensors(tensors);
  limit->set_mode(mode);
  limit->set_threshold(threshold);
}

// Gradients of tensors "t0", "t1", ... with their measured record.
template <typename T>
class Gradients {
 public:
  explicit Gradients(std::vector<std::vector<T>> tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      layout_.Add("t" + std::to_string(i), {static_cast<int64_t>(tensors[i].size())}, 0, v1::Initializer());
    }
    arena_.assign(layout_.arena_size(), 0);
    for (size_t i = 0; i < tensors.size(); ++i) {
      std::copy(tensors[i].begin(), tensors[i].end(), arena_.begin() + layout_.segments()[i].offset);
    }
    record_.tensors.resize(tensors.size());
    Measure();
  }

  void Measure() { MeasureGradients<T>(layout_, arena_, v1::STATISTICS_LEVEL_NORM, nullptr, &record_); }
  const ClipOutcome& Clip(const v1::ClipSettings& settings) {
    Clipper<T> clipper(&layout_);
    clipper.Configure(settings);
    clipper.Apply(arena_, &record_);
    return record_.clip;
  }
  // The global norm as it is now.
  double Norm() {
    Measure();
    return record_.grad_norm;
  }
  std::vector<T> Tensor(int i) const {
    const ParameterSegment& segment = layout_.segments()[i];
    return {arena_.begin() + segment.offset, arena_.begin() + segment.offset + segment.size};
  }
  const std::vector<T>& arena() const { return arena_; }
  const StepRecord& record() const { return record_; }

 private:
  ParameterLayout layout_;
  std::vector<T> arena_;
  StepRecord record_;
};

template <typename T>
Gradients<T> RandomGradients(double scale, uint64_t seed) {
  Random random(seed, RandomStream::kSyntheticData, 0);
  std::vector<std::vector<T>> tensors;
  for (const int size : {1, 17, 300}) {
    std::vector<T> tensor(size);
    for (T& value : tensor) value = static_cast<T>(scale * random.NextNormal());
    tensors.push_back(tensor);
  }
  return Gradients<T>(tensors);
}

template <typename T>
class ClipperTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ClipperTest, Scalars);

TYPED_TEST(ClipperTest, NoneLeavesEverythingAsItIs) {
  Gradients<TypeParam> gradients({{30, 40}});
  const ClipOutcome& outcome = gradients.Clip(v1::ClipSettings());
  EXPECT_EQ(outcome.action, Outcome::ACTION_NOT_NEEDED);
  EXPECT_EQ(outcome.norm_after, 50);
  EXPECT_EQ(outcome.coefficient, 1);
  EXPECT_EQ(outcome.threshold, 0);
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(30, 40));
}

TYPED_TEST(ClipperTest, GlobalNormScalesAllTensorsTogether) {
  Gradients<TypeParam> gradients({{3}, {0, 4}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, 2.5));
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_DOUBLE_EQ(outcome.coefficient, 0.5);
  EXPECT_DOUBLE_EQ(outcome.norm_after, 2.5);
  EXPECT_EQ(outcome.tensors_clipped, 2);
  EXPECT_EQ(outcome.threshold, 2.5);
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(1.5));
  EXPECT_THAT(gradients.Tensor(1), ElementsAre(0, 2));
}

TYPED_TEST(ClipperTest, GlobalNormAtOrBelowTheThresholdChangesNothing) {
  for (const double threshold : {5.0, 5.0000001, 100.0}) {
    Gradients<TypeParam> gradients({{3}, {4}});
    const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, threshold));
    EXPECT_EQ(outcome.action, Outcome::ACTION_NOT_NEEDED) << threshold;
    EXPECT_EQ(outcome.coefficient, 1);
    EXPECT_EQ(outcome.tensors_clipped, 0);
    EXPECT_THAT(gradients.Tensor(0), ElementsAre(3));
    EXPECT_THAT(gradients.Tensor(1), ElementsAre(4));
  }
}

TYPED_TEST(ClipperTest, PytorchCompatibleScalesAtTheThresholdToo) {
  Gradients<TypeParam> gradients({{TypeParam(.6), TypeParam(.8)}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 1);
  settings.set_pytorch_compatible(true);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_NEAR(outcome.coefficient, 1 / 1.000001, 1e-7);
  EXPECT_NEAR(gradients.Tensor(0)[0], .5999994, 6e-8);
  EXPECT_NEAR(gradients.Tensor(0)[1], .7999992, 6e-8);
}

TYPED_TEST(ClipperTest, PytorchCompatibleLeavesASmallOrZeroGradientAlone) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 1);
  settings.set_pytorch_compatible(true);
  for (const TypeParam value : {TypeParam(0), TypeParam(.5)}) {
    Gradients<TypeParam> gradients({{value, 0}});
    EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_NOT_NEEDED);
    EXPECT_THAT(gradients.Tensor(0), ElementsAre(value, 0));
  }
}

TYPED_TEST(ClipperTest, TensorNormLimitsEachTensorByItself) {
  Gradients<TypeParam> gradients({{3, 4}, {6, 8}, {0}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_TENSOR_NORM, 5));
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.tensors_clipped, 1);
  EXPECT_EQ(outcome.coefficient, 1);
  EXPECT_DOUBLE_EQ(outcome.norm_after, std::sqrt(50.0));
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(3, 4));
  EXPECT_THAT(gradients.Tensor(1), ElementsAre(3, 4));
}

TYPED_TEST(ClipperTest, ValueClampsEachElement) {
  Gradients<TypeParam> gradients({{1, -2, 5, -7}, {2, 0}});
  const ClipOutcome& outcome = gradients.Clip(Settings(v1::CLIP_MODE_VALUE, 2));
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.tensors_clipped, 1);
  EXPECT_DOUBLE_EQ(outcome.norm_after, std::sqrt(17.0));
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(1, -2, 2, -2));
  EXPECT_THAT(gradients.Tensor(1), ElementsAre(2, 0));
}

TYPED_TEST(ClipperTest, OverridesTakeTheFirstMatchAndLeaveTheGlobalNorm) {
  Gradients<TypeParam> gradients({{3}, {4}, {1000}, {50}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 2.5);
  AddOverride("t2", v1::CLIP_MODE_VALUE, 10, &settings);
  AddOverride("t[23]", v1::CLIP_MODE_VALUE, 1, &settings);  // no brackets in globs: matches nothing
  AddOverride("?3", v1::CLIP_MODE_NONE, 0, &settings);
  AddOverride("t2", v1::CLIP_MODE_VALUE, 1, &settings);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_DOUBLE_EQ(outcome.coefficient, 0.5);
  EXPECT_EQ(outcome.tensors_clipped, 3);
  EXPECT_DOUBLE_EQ(outcome.norm_after, std::sqrt(1.5 * 1.5 + 2 * 2 + 10 * 10 + 50 * 50));
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(1.5));
  EXPECT_THAT(gradients.Tensor(1), ElementsAre(2));
  EXPECT_THAT(gradients.Tensor(2), ElementsAre(10));
  EXPECT_THAT(gradients.Tensor(3), ElementsAre(50));
}

TYPED_TEST(ClipperTest, OverridesHoldWithoutAModeToo) {
  Gradients<TypeParam> gradients({{3}, {4}});
  v1::ClipSettings settings;
  AddOverride("t1", v1::CLIP_MODE_TENSOR_NORM, 2, &settings);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_CLIPPED);
  EXPECT_EQ(outcome.threshold, 0);
  EXPECT_THAT(gradients.Tensor(1), ElementsAre(2));
}

TYPED_TEST(ClipperTest, NonFiniteGradientsSkipOrStopAndAreNotTouched) {
  using Limits = std::numeric_limits<TypeParam>;
  for (const TypeParam broken : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    for (const auto mode : {v1::CLIP_MODE_NONE, v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_VALUE}) {
      Gradients<TypeParam> gradients({{3, 4}, {broken, 100}});
      v1::ClipSettings settings = Settings(mode, 1);
      EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_SKIPPED);
      EXPECT_EQ(gradients.record().clip.norm_after, 0);
      EXPECT_EQ(gradients.record().clip.coefficient, 1);
      EXPECT_EQ(gradients.record().clip.tensors_clipped, 0);
      settings.set_non_finite(v1::NON_FINITE_ACTION_STOP);
      EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_STOPPED);
      EXPECT_THAT(gradients.Tensor(0), ElementsAre(3, 4));
      EXPECT_EQ(gradients.Tensor(1)[1], 100);
    }
  }
}

TYPED_TEST(ClipperTest, ZeroClearsWhatIsBrokenAndClipsTheRestByItsOwnNorm) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  Gradients<TypeParam> gradients({{nan, 3, inf}, {-inf, 4}});
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 2.5);
  settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  const ClipOutcome& outcome = gradients.Clip(settings);
  EXPECT_EQ(outcome.action, Outcome::ACTION_ZEROED);
  EXPECT_DOUBLE_EQ(outcome.coefficient, 0.5);
  EXPECT_DOUBLE_EQ(outcome.norm_after, 2.5);
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(0, 1.5, 0));
  EXPECT_THAT(gradients.Tensor(1), ElementsAre(0, 2));
}

TYPED_TEST(ClipperTest, ZeroWithoutAModeOnlyClears) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  Gradients<TypeParam> gradients({{nan, 300}});
  v1::ClipSettings settings;
  settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  EXPECT_EQ(gradients.Clip(settings).action, Outcome::ACTION_ZEROED);
  EXPECT_THAT(gradients.Tensor(0), ElementsAre(0, 300));
}

TYPED_TEST(ClipperTest, AZeroGradientStaysZero) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    Gradients<TypeParam> gradients({{0, 0}});
    EXPECT_EQ(gradients.Clip(Settings(mode, 1)).action, Outcome::ACTION_NOT_NEEDED);
    EXPECT_THAT(gradients.Tensor(0), ElementsAre(0, 0));
  }
}

TYPED_TEST(ClipperTest, HugeFiniteGradientsAreScaledAndNotWipedOut) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM}) {
    Gradients<TypeParam> gradients({std::vector<TypeParam>(100, TypeParam(1e20))});
    EXPECT_EQ(gradients.Clip(Settings(mode, 1)).action, Outcome::ACTION_CLIPPED);
    EXPECT_NEAR(gradients.Norm(), 1, 1e-6);
  }
}

TYPED_TEST(ClipperTest, CoefficientsBelowTheRangeOfFloatStillWork) {
  Gradients<TypeParam> gradients({{TypeParam(3e30), TypeParam(4e30)}});
  gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, 5e-20));
  EXPECT_NEAR(gradients.Norm() / 5e-20, 1, 1e-6);
}

TYPED_TEST(ClipperTest, TheLimitedNormIsAtMostTheThreshold) {
  const double slack = 1 + 4 * std::numeric_limits<TypeParam>::epsilon();
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (const double threshold : {1e-6, 0.3, 1.0, 12.0}) {
      auto gradients = RandomGradients<TypeParam>(1, seed);
      const double before = gradients.Norm();
      const double after = gradients.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, threshold)).norm_after;
      EXPECT_LE(gradients.Norm(), threshold * slack);
      EXPECT_NEAR(gradients.Norm() / after, 1, slack - 1);
      EXPECT_NEAR(after, std::min(before, threshold), threshold * (slack - 1));
    }
  }
}

TYPED_TEST(ClipperTest, ClippingTwiceChangesNothingBeyondRounding) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    auto gradients = RandomGradients<TypeParam>(1, 3);
    gradients.Clip(Settings(mode, 0.5));
    const auto once = gradients.arena();
    gradients.Measure();
    gradients.Clip(Settings(mode, 0.5));
    for (size_t i = 0; i < once.size(); ++i) {
      EXPECT_NEAR(gradients.arena()[i], once[i], 2 * std::numeric_limits<TypeParam>::epsilon() * std::fabs(once[i]));
    }
  }
}

TYPED_TEST(ClipperTest, ScalingGradientAndThresholdScalesTheResult) {
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    auto plain = RandomGradients<TypeParam>(1, 4);
    auto scaled = RandomGradients<TypeParam>(1024, 4);  // a power of two: exact
    plain.Clip(Settings(mode, 0.5));
    scaled.Clip(Settings(mode, 512));
    for (size_t i = 0; i < plain.arena().size(); ++i) EXPECT_EQ(scaled.arena()[i], 1024 * plain.arena()[i]);
  }
}

TYPED_TEST(ClipperTest, ClippingByNormKeepsTheDirection) {
  auto before = RandomGradients<TypeParam>(1, 5);
  auto after = RandomGradients<TypeParam>(1, 5);
  after.Clip(Settings(v1::CLIP_MODE_GLOBAL_NORM, 0.1));
  double dot = 0;
  for (size_t i = 0; i < before.arena().size(); ++i) dot += double{before.arena()[i]} * after.arena()[i];
  EXPECT_NEAR(dot / (before.Norm() * after.Norm()), 1, 1e-12);
}

TYPED_TEST(ClipperTest, NewSettingsReplaceTheOldOnes) {
  ParameterLayout layout;
  layout.Add("t0", {1}, 0, v1::Initializer());
  std::vector<TypeParam> arena(layout.arena_size());
  arena[0] = 8;
  StepRecord record;
  record.tensors.resize(1);
  Clipper<TypeParam> clipper(&layout);
  for (const double threshold : {4.0, 2.0}) {
    clipper.Configure(Settings(v1::CLIP_MODE_GLOBAL_NORM, threshold));
    MeasureGradients<TypeParam>(layout, arena, v1::STATISTICS_LEVEL_NORM, nullptr, &record);
    clipper.Apply(arena, &record);
    EXPECT_EQ(arena[0], threshold);
    EXPECT_EQ(record.clip.threshold, threshold);
  }
}

}  // namespace
}  // namespace gradwatch::core
