#include "core/stats/gradient_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace gradwatch::core {
namespace {

// Two tensors, of 3 and 2 elements, with padding in between and behind that a test may fill with anything.
class GradientStatisticsTest : public ::testing::Test {
 protected:
  GradientStatisticsTest() {
    layout_.Add("a", {3}, 0, v1::Initializer());
    layout_.Add("b", {2, 1}, 1, v1::Initializer());
    gradients_.assign(layout_.arena_size(), std::numeric_limits<float>::quiet_NaN());
    parameters_.assign(layout_.arena_size(), std::numeric_limits<float>::quiet_NaN());
    Set(0, {2, 3, -6}, {1, 2, 2});
    Set(1, {24, 0}, {0, 5});
    record_.tensors.resize(2);
  }

  void Set(int tensor, std::vector<float> gradient, std::vector<float> parameter) {
    const int64_t offset = layout_.segments()[tensor].offset;
    std::copy(gradient.begin(), gradient.end(), gradients_.begin() + offset);
    std::copy(parameter.begin(), parameter.end(), parameters_.begin() + offset);
  }

  void Measure(v1::StatisticsLevel level) { MeasureGradients<float>(layout_, gradients_, level, nullptr, &record_); }

  ParameterLayout layout_;
  std::vector<float> gradients_, parameters_;
  StepRecord record_;
};

TEST_F(GradientStatisticsTest, FullMeasuresEveryTensorAndNoPadding) {
  Measure(v1::STATISTICS_LEVEL_FULL);
  EXPECT_EQ(record_.level, v1::STATISTICS_LEVEL_FULL);
  EXPECT_EQ(record_.tensors[0].l2_norm, 7);
  EXPECT_EQ(record_.tensors[1].l2_norm, 24);
  EXPECT_EQ(record_.tensors[1].zero_count, 1);
  EXPECT_EQ(record_.tensors[1].histogram.positive()[4 + 127], 1u);
  EXPECT_EQ(record_.grad_norm, 25);
  EXPECT_EQ(record_.non_finite(), 0);
}

TEST_F(GradientStatisticsTest, UnspecifiedLevelIsFull) {
  Measure(v1::STATISTICS_LEVEL_UNSPECIFIED);
  EXPECT_EQ(record_.level, v1::STATISTICS_LEVEL_FULL);
  EXPECT_NE(record_.tensors[0].mean, 0);
}

TEST_F(GradientStatisticsTest, WeightsAreMeasuredOnTheirOwn) {
  MeasureWeights<float>(layout_, parameters_, &record_);
  EXPECT_EQ(record_.tensors[0].weight_norm, 3);
  EXPECT_EQ(record_.tensors[1].weight_norm, 5);
  parameters_[1] = std::numeric_limits<float>::infinity();
  MeasureWeights<float>(layout_, parameters_, &record_);
  EXPECT_EQ(record_.tensors[0].weight_norm, std::numeric_limits<double>::infinity());
}

TEST_F(GradientStatisticsTest, NormLeavesNothingOfAFullerStepBehindButTheHistogram) {
  Measure(v1::STATISTICS_LEVEL_FULL);
  record_.tensors[0].update_norm = 1;
  Measure(v1::STATISTICS_LEVEL_NORM);
  EXPECT_EQ(record_.level, v1::STATISTICS_LEVEL_NORM);
  EXPECT_EQ(record_.grad_norm, 25);
  EXPECT_EQ(record_.tensors[0].l2_norm, 7);
  EXPECT_EQ(record_.tensors[0].max_abs, 6);
  EXPECT_EQ(record_.tensors[0].weight_norm, 0);
  EXPECT_EQ(record_.tensors[0].update_norm, 0);
  EXPECT_EQ(record_.tensors[0].mean, 0);
  EXPECT_EQ(record_.tensors[0].histogram.positive()[2 + 127 - 1], 2u);  // 2 and 3, of the step before
}

TEST_F(GradientStatisticsTest, HistogramsRestOnStepsThatTellNone) {
  Measure(v1::STATISTICS_LEVEL_FULL);
  const StepRecord reported = record_;
  Set(0, {0.25, 0, -0.5}, {1, 2, 2});
  record_.report_histograms = false;
  Measure(v1::STATISTICS_LEVEL_FULL);
  EXPECT_EQ(record_.tensors[0].histogram.counts, reported.tensors[0].histogram.counts);
  EXPECT_EQ(record_.tensors[0].max_abs, 0.5);
  EXPECT_EQ(record_.tensors[0].zero_count, 1);
  record_.report_histograms = true;
  Measure(v1::STATISTICS_LEVEL_FULL);
  HistogramCounts expected;
  expected.positive()[127 - 2] = expected.negative()[127 - 1] = 1;
  EXPECT_EQ(record_.tensors[0].histogram.counts, expected.counts);
}

TEST_F(GradientStatisticsTest, HistogramsCanBeAddedToAStepThatWasMeasuredWithout) {
  record_.report_histograms = false;
  Measure(v1::STATISTICS_LEVEL_FULL);
  EXPECT_EQ(record_.tensors[0].histogram.counts, HistogramCounts().counts);
  MeasureHistograms<float>(layout_, gradients_, &record_);
  EXPECT_TRUE(record_.report_histograms);
  const StepRecord added = record_;
  Measure(v1::STATISTICS_LEVEL_FULL);
  for (size_t i = 0; i < record_.tensors.size(); ++i) {
    EXPECT_EQ(added.tensors[i].histogram.counts, record_.tensors[i].histogram.counts);
    EXPECT_EQ(added.tensors[i].l2_norm, record_.tensors[i].l2_norm);
  }
  Set(0, {1, 1, 1}, {});
  record_.report_histograms = false;
  Measure(v1::STATISTICS_LEVEL_NORM);
  MeasureHistograms<float>(layout_, gradients_, &record_);
  EXPECT_EQ(record_.tensors[0].histogram.counts, added.tensors[0].histogram.counts) << "NORM has none";
}

TEST_F(GradientStatisticsTest, NoneMeasuresNothing) {
  Measure(v1::STATISTICS_LEVEL_FULL);
  Set(0, {std::numeric_limits<float>::quiet_NaN()}, {});
  Measure(v1::STATISTICS_LEVEL_NONE);
  EXPECT_EQ(record_.level, v1::STATISTICS_LEVEL_NONE);
  EXPECT_EQ(record_.grad_norm, 0);
  EXPECT_EQ(record_.non_finite(), 0);
  EXPECT_EQ(record_.tensors[0].l2_norm, 0);
}

TEST_F(GradientStatisticsTest, NonFiniteCountsAreSummedByKindAndTheNormIsThatOfTheFinitePart) {
  const float inf = std::numeric_limits<float>::infinity();
  Set(0, {NAN, inf, -6}, {1, 2, 2});
  Set(1, {8, -inf}, {0, 5});
  for (const auto level : {v1::STATISTICS_LEVEL_FULL, v1::STATISTICS_LEVEL_NORM}) {
    Measure(level);
    EXPECT_EQ(record_.nan_count, 1);
    EXPECT_EQ(record_.pos_inf_count, 1);
    EXPECT_EQ(record_.neg_inf_count, 1);
    EXPECT_EQ(record_.grad_norm, 10);
  }
}

TEST_F(GradientStatisticsTest, DoubleIsMeasuredTheSame) {
  const std::vector<double> gradients(gradients_.begin(), gradients_.end());
  const std::vector<double> parameters(parameters_.begin(), parameters_.end());
  MeasureGradients<double>(layout_, gradients, v1::STATISTICS_LEVEL_FULL, nullptr, &record_);
  MeasureWeights<double>(layout_, parameters, &record_);
  EXPECT_DOUBLE_EQ(record_.grad_norm, 25);
  EXPECT_DOUBLE_EQ(record_.tensors[1].weight_norm, 5);
}

// Whoever measures which tensor, and in which order, the numbers are the same.
TEST(GradientMeasurementTest, OrderAndThreadsChangeNothing) {
  ParameterLayout layout;
  for (const int64_t size : {1, 400'000, 70, 300'000, 500'000, 9}) layout.Add("t", {size}, 0, v1::Initializer());
  std::vector<float> gradients(layout.arena_size());
  for (size_t i = 0; i < gradients.size(); ++i) gradients[i] = std::sin(static_cast<float>(i + 1));
  Workers workers(3);
  enum Way { kInOrder, kShared, kBackwards, kWays };
  std::vector<StepRecord> records(kWays);
  for (const int way : {kInOrder, kShared, kBackwards}) {
    records[way].tensors.resize(layout.segments().size());
    GradientCosine<float> cosine(&layout);
    cosine.Switch(true);
    for (int step = 0; step < 2; ++step) {
      GradientMeasurement<float> measurement(layout, gradients, v1::STATISTICS_LEVEL_FULL, &cosine, &records[way]);
      if (way == kBackwards) {
        measurement.Measure(3, 6);
        measurement.Measure(1, 3);
        measurement.Measure(0, 1);
      } else {
        measurement.MeasureAll(way == kShared ? &workers : nullptr);
      }
      measurement.Finish();
    }
    EXPECT_EQ(records[way].grad_norm, records[kInOrder].grad_norm);
    EXPECT_EQ(records[way].cosine_with_last, records[kInOrder].cosine_with_last);
    EXPECT_NEAR(records[way].cosine_with_last, 1, 1e-12);
    for (size_t i = 0; i < layout.segments().size(); ++i) {
      const TensorStatistics &a = records[way].tensors[i], &b = records[kInOrder].tensors[i];
      EXPECT_EQ(a.l2_norm, b.l2_norm) << i;
      EXPECT_EQ(a.mean, b.mean) << i;
      EXPECT_EQ(a.histogram.counts, b.histogram.counts) << i;
      EXPECT_EQ(a.cosine_with_last, b.cosine_with_last) << i;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
