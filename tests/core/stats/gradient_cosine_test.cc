#include "core/stats/gradient_cosine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/stats/gradient_statistics.h"

namespace gradwatch::core {
namespace {

// Two tensors, of 3 and 2 elements.
class GradientCosineTest : public ::testing::Test {
 protected:
  GradientCosineTest() : cosine_(&layout_) {
    layout_.Add("a", {3}, 0, v1::Initializer());
    layout_.Add("b", {2}, 1, v1::Initializer());
    gradients_.assign(layout_.arena_size(), 0);
    record_.tensors.resize(2);
    cosine_.Switch(true);
  }

  void Step(std::vector<float> a, std::vector<float> b, v1::StatisticsLevel level = v1::STATISTICS_LEVEL_FULL) {
    std::copy(a.begin(), a.end(), gradients_.begin() + layout_.segments()[0].offset);
    std::copy(b.begin(), b.end(), gradients_.begin() + layout_.segments()[1].offset);
    MeasureGradients<float>(layout_, gradients_, level, &cosine_, &record_);
  }
  double a() const { return record_.tensors[0].cosine_with_last; }
  double b() const { return record_.tensors[1].cosine_with_last; }
  double all() const { return record_.cosine_with_last; }

  ParameterLayout layout_;
  GradientCosine<float> cosine_;
  std::vector<float> gradients_;
  StepRecord record_;
};

TEST_F(GradientCosineTest, TheFirstStepHasNothingToCompareWith) {
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  EXPECT_TRUE(std::isnan(b()));
  EXPECT_TRUE(std::isnan(all()));
}

TEST_F(GradientCosineTest, ParallelOppositeAndOrthogonal) {
  Step({1, 2, 2}, {3, 4});
  Step({2, 4, 4}, {-6, -8});
  EXPECT_EQ(a(), 1);
  EXPECT_EQ(b(), -1);
  EXPECT_DOUBLE_EQ(all(), (2 * 9 - 2 * 25) / std::sqrt(34.0 * 4 * 34));
  Step({2, -1, 0}, {8, -6});
  EXPECT_EQ(a(), 0);
  EXPECT_EQ(b(), 0);
  EXPECT_EQ(all(), 0);
}

TEST_F(GradientCosineTest, HugeAndTinyGradientsHaveAnAngleToo) {
  Step({1e38f, 0, 0}, {1e-45f, 0});
  Step({1e38f, 1e38f, 0}, {1e-45f, 0});
  EXPECT_DOUBLE_EQ(a(), std::sqrt(0.5));
  EXPECT_EQ(b(), 1);
  EXPECT_DOUBLE_EQ(all(), std::sqrt(0.5));
}

TEST_F(GradientCosineTest, AZeroGradientHasNoAngle) {
  Step({1, 2, 2}, {3, 4});
  Step({0, 0, 0}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  EXPECT_EQ(b(), 1);
  EXPECT_DOUBLE_EQ(all(), 25 / std::sqrt(34.0) / 5);
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
}

TEST_F(GradientCosineTest, ABrokenGradientIsComparedWithNeitherNeighbour) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Step({1, 2, 2}, {3, 4});
  Step({1, nan, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  EXPECT_EQ(b(), 1);
  EXPECT_TRUE(std::isnan(all()));
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  EXPECT_EQ(b(), 1);
  EXPECT_TRUE(std::isnan(all()));
  Step({1, 2, 2}, {3, 4});
  EXPECT_EQ(a(), 1);
  EXPECT_DOUBLE_EQ(all(), 1);
}

TEST_F(GradientCosineTest, AfterAStepThatWasNotUsedNothingIsCompared) {
  Step({1, 2, 2}, {3, 4});
  cosine_.Forget();
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  EXPECT_TRUE(std::isnan(all()));
  Step({1, 2, 2}, {3, 4});
  EXPECT_EQ(a(), 1);
  Step({1, 2, 2}, {3, 4}, v1::STATISTICS_LEVEL_NORM);
  EXPECT_TRUE(std::isnan(a()));
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
}

TEST_F(GradientCosineTest, OffItMeasuresNothingAndComesBackEmpty) {
  Step({1, 2, 2}, {3, 4});
  cosine_.Switch(false);
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  EXPECT_TRUE(std::isnan(all()));
  cosine_.Switch(true);
  Step({1, 2, 2}, {3, 4});
  EXPECT_TRUE(std::isnan(a()));
  Step({1, 2, 2}, {3, 4});
  EXPECT_EQ(a(), 1);
}

}  // namespace
}  // namespace gradwatch::core
