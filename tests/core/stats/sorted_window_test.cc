#include "core/stats/sorted_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

double SlowMedian(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return (samples[(samples.size() - 1) / 2] + samples[samples.size() / 2]) / 2;
}

double SlowDeviation(std::vector<double> samples) {
  const double median = SlowMedian(samples);
  for (double& sample : samples) sample = std::fabs(sample - median);
  return SlowMedian(samples);
}

TEST(SortedWindowTest, AgreesWithSortingAfterEverySample) {
  Random random(1, RandomStream::kSyntheticData, 0);
  for (const int capacity : {1, 2, 3, 5, 10, 51, 100}) {
    SortedWindow window(capacity);
    std::deque<double> samples;
    for (int i = 0; i < 500; ++i) {
      // Few different values, so that there are many equal ones.
      const double sample = i % 3 == 0 ? random.NextNormal() : std::floor(3 * random.NextUniform());
      window.Add(sample);
      samples.push_back(sample);
      if (samples.size() > static_cast<size_t>(capacity)) samples.pop_front();
      const std::vector<double> now(samples.begin(), samples.end());
      ASSERT_EQ(window.size(), static_cast<int>(now.size()));
      ASSERT_DOUBLE_EQ(window.Median(), SlowMedian(now)) << capacity << " " << i;
      ASSERT_NEAR(window.MedianDeviation(), SlowDeviation(now), 1e-15) << capacity << " " << i;
    }
    EXPECT_EQ(window.capacity(), capacity);
  }
}

TEST(SortedWindowTest, QuantilesAreInterpolated) {
  SortedWindow window(4);
  window.Add(7);
  for (const double fraction : {0.0, 0.5, 1.0}) EXPECT_EQ(window.Quantile(fraction), 7);
  for (const double sample : {40.0, 10.0, 20.0, 30.0}) window.Add(sample);  // the 7 leaves
  EXPECT_EQ(window.Quantile(0), 10);
  EXPECT_EQ(window.Quantile(1), 40);
  EXPECT_DOUBLE_EQ(window.Quantile(0.1), 13);
  EXPECT_DOUBLE_EQ(window.Quantile(0.5), 25);
  EXPECT_DOUBLE_EQ(window.Quantile(2.0 / 3), 30);
}

TEST(SortedWindowTest, KnowsTheOrderInWhichSamplesCame) {
  SortedWindow window(3);
  const std::vector<double> samples = {5, 3, 9, 4, 1};
  for (size_t i = 0; i < samples.size(); ++i) {
    window.Add(samples[i]);
    const int oldest = static_cast<int>(i) + 1 - window.size();
    for (int age = 0; age < window.size(); ++age) EXPECT_EQ(window.ByAge(age), samples[oldest + age]);
  }
}

TEST(SortedWindowTest, StartsAgainAfterClear) {
  SortedWindow window(3);
  for (const double sample : {5.0, 6.0, 7.0, 8.0}) window.Add(sample);
  window.Clear();
  EXPECT_EQ(window.size(), 0);
  for (const double sample : {1.0, 2.0, 3.0, 4.0}) window.Add(sample);
  EXPECT_EQ(window.Median(), 3);
}

TEST(SortedWindowTest, RisingAndFallingSeriesKeepTheLastSamples) {
  SortedWindow window(5);
  for (int i = 0; i < 100; ++i) window.Add(i);
  EXPECT_EQ(window.Median(), 97);
  EXPECT_EQ(window.MedianDeviation(), 1);
  for (int i = 0; i < 100; ++i) window.Add(-i);
  EXPECT_EQ(window.Median(), -97);
}

}  // namespace
}  // namespace gradwatch::core
