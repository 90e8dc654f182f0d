#include "core/stats/layer_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

template <typename T>
LayerStatistics Output(const std::vector<T>& y, int64_t rows,
                       v1::ActivationFunction function = v1::ACTIVATION_FUNCTION_UNSPECIFIED) {
  LayerStatistics statistics;
  statistics.saturated = statistics.dead = 7;  // of an older step; must not stay
  MeasureOutput(y.data(), rows, static_cast<int64_t>(y.size()) / rows, function, &statistics);
  return statistics;
}

TEST(LayerStatisticsTest, MeanAndVarianceAtEverySize) {
  for (int size = 1; size <= 40; ++size) {
    std::vector<double> y(size);
    for (int i = 0; i < size; ++i) y[i] = 3 + i;
    const LayerStatistics s = Output(y, 1);
    EXPECT_DOUBLE_EQ(s.output_mean, 3 + (size - 1) / 2.0);
    EXPECT_NEAR(s.output_variance, (size * size - 1) / 12.0, 1e-12 * size * size);
    EXPECT_TRUE(std::isnan(s.saturated));
    EXPECT_TRUE(std::isnan(s.dead));
    EXPECT_FALSE(s.has_backward);
  }
}

TEST(LayerStatisticsTest, ASmallVarianceBesideALargeMeanIsMeasured) {
  Random random(1, RandomStream::kSyntheticData, 0);
  std::vector<double> y(100'000);
  for (double& x : y) x = 1e6 + 1e-3 * random.NextNormal();
  EXPECT_NEAR(Output(y, 100).output_variance, 1e-6, 3e-8);
}

TEST(LayerStatisticsTest, ASmallVarianceIsMeasuredWhereTheFirstOutputIsNotFinite) {
  for (const float first : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    // A hundred halves of steps of float above 1, as many below: their variance is a quarter of a step squared.
    std::vector<float> y = {first};
    const float step = std::numeric_limits<float>::epsilon();
    for (int i = 0; i < 100; ++i) y.insert(y.end(), {1, 1 + step});
    const LayerStatistics s = Output(y, 1);
    EXPECT_DOUBLE_EQ(s.output_mean, 1 + double{step} / 2);
    EXPECT_NEAR(s.output_variance / (0.25 * double{step} * step), 1, 1e-9);
  }
}

TEST(LayerStatisticsTest, WhatIsNotFiniteIsCountedAndLeftOut) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float first : {std::numeric_limits<float>::quiet_NaN(), inf, -inf}) {
    const LayerStatistics s = Output<float>({first, 1, 3, inf, NAN, -inf}, 2);
    EXPECT_EQ(s.output_non_finite, 4);
    EXPECT_EQ(s.output_mean, 2);
    EXPECT_EQ(s.output_variance, 1);
  }
}

TEST(LayerStatisticsTest, SaturatedShares) {
  const std::vector<float> tanh = {0.98f, -0.98f, 0.96f, -0.96f, 0, 1, -1, 0.5f};
  EXPECT_EQ(Output(tanh, 2, v1::ACTIVATION_FUNCTION_TANH).saturated, 4 / 8.0);
  const std::vector<float> sigmoid = {0.02f, 0.98f, 0.04f, 0.96f, 0.5f};
  EXPECT_EQ(Output(sigmoid, 1, v1::ACTIVATION_FUNCTION_SIGMOID).saturated, 2 / 5.0);
  EXPECT_TRUE(std::isnan(Output(tanh, 2, v1::ACTIVATION_FUNCTION_RELU).saturated));
}

TEST(LayerStatisticsTest, AUnitIsDeadIfItIsZeroInEveryRow) {
  // The columns: dead, alive in the last row only, always alive.
  const std::vector<float> relu = {0, 0, 1, 0, 0, 2, 0, 3, 1};
  EXPECT_DOUBLE_EQ(Output(relu, 3, v1::ACTIVATION_FUNCTION_RELU).dead, 1 / 3.0);
  EXPECT_TRUE(std::isnan(Output(relu, 3, v1::ACTIVATION_FUNCTION_TANH).dead));
}

TEST(LayerStatisticsTest, DeadUnitsAreFoundInWideLayers) {
  constexpr int kRows = 3, kUnits = 1300;
  std::vector<double> relu(kRows * kUnits, 1);
  for (int unit = 0; unit < kUnits; unit += 4) {
    for (int row = 0; row < kRows; ++row) relu[row * kUnits + unit] = 0;
  }
  EXPECT_EQ(Output(relu, kRows, v1::ACTIVATION_FUNCTION_RELU).dead, 0.25);
}

TEST(LayerStatisticsTest, GrowthIsALogarithmAndUnknownWithoutAnInput) {
  LayerStatistics statistics;
  FillBackward(2, 6, &statistics);
  EXPECT_TRUE(statistics.has_backward);
  EXPECT_EQ(statistics.backward_norm, 2);
  EXPECT_DOUBLE_EQ(statistics.backward_growth, std::log(3));
  for (const auto& [output, input] : {std::pair{2.0, 0.0}, {0.0, 1.0}, {0.0, 0.0}, {NAN, 1.0}, {1.0, INFINITY}}) {
    LayerStatistics unknown;
    FillBackward(output, input, &unknown);
    EXPECT_TRUE(std::isnan(unknown.backward_growth)) << output << " " << input;
  }
}

}  // namespace
}  // namespace gradwatch::core
