#include "core/stats/exponent_counter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

int64_t Total(const HistogramCounts& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), int64_t{0});
}

// In blocks, as tensors are measured.
HistogramCounts Count(const std::vector<float>& tensor, const ExponentSample& sample) {
  HistogramCounts histogram;
  ExponentCounter counter(sample, &histogram);
  const int64_t size = static_cast<int64_t>(tensor.size());
  for (int64_t first = 0; first < size; first += 4096) {
    counter.Count(tensor.data(), first, std::min<int64_t>(size, first + 4096));
  }
  counter.Finish();
  return histogram;
}

TEST(ExponentSampleTest, SmallTensorsAreCountedWhole) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, int64_t{100}, ExponentSample::kWholeUpTo}) {
    const ExponentSample sample(size, 12345);
    EXPECT_EQ(sample.stride(), 1);
    EXPECT_EQ(sample.IndexIn(17), 17);
  }
}

TEST(ExponentSampleTest, LargerOnesAreSampledAtHalfThatManyPlacesOrMore) {
  for (int64_t size = ExponentSample::kWholeUpTo; size < 3'000'000; size = size * 9 / 8 + 1) {
    const int64_t stride = ExponentSample(size, 0).stride();
    EXPECT_GE(size, stride * ExponentSample::kWholeUpTo / 2) << size;
    if (stride < ExponentSample::kMaxStride) {
      EXPECT_LE(size, stride * ExponentSample::kWholeUpTo) << size;
    }
  }
  EXPECT_EQ(ExponentSample(int64_t{1} << 40, 0).stride(), ExponentSample::kMaxStride);
}

TEST(ExponentSampleTest, EveryElementHasItsTurnAlsoAmongTheStepsThatAreReported) {
  for (const int64_t size : {257, 5000, 1 << 20}) {
    const int64_t stride = ExponentSample(size, 0).stride();
    for (const int64_t every : {int64_t{1}, stride, stride * stride}) {
      std::set<int64_t> seen;
      for (int64_t i = 0; i < stride; ++i) seen.insert(ExponentSample(size, i * every).IndexIn(5));
      EXPECT_EQ(seen.size(), static_cast<size_t>(stride)) << size << " every " << every;
      EXPECT_GE(*seen.begin(), 5 * stride);
      EXPECT_LT(*seen.rbegin(), 6 * stride);
    }
  }
}

TEST(ExponentSampleTest, NoColumnOfAMatrixIsPreferred) {
  for (const int columns : {64, 128, 256, 512, 1024}) {
    constexpr int kRows = 4096;
    const ExponentSample sample(int64_t{columns} * kRows, 3);
    std::vector<int> hits(columns);
    for (int64_t piece = 0; piece * sample.stride() < int64_t{columns} * kRows; ++piece) {
      ++hits[sample.IndexIn(piece) % columns];
    }
    for (const int count : hits) EXPECT_EQ(count, kRows / sample.stride()) << columns;
  }
}

TEST(ExponentCounterTest, CountsBySignAndPowerOfTwoAndDropsTheRest) {
  const float inf = std::numeric_limits<float>::infinity();
  const HistogramCounts histogram =
      Count({1, 1.9f, -1, -2, 0.5f, 0, -0.0f, 1e-40f, inf, -inf, NAN}, ExponentSample(11, 0));
  EXPECT_EQ(histogram.positive()[127], 2u);
  EXPECT_EQ(histogram.positive()[126], 1u);
  EXPECT_EQ(histogram.negative()[127], 1u);
  EXPECT_EQ(histogram.negative()[128], 1u);
  EXPECT_EQ(Total(histogram), 5);
}

// The counter walks without multiplying; the sample says where it must arrive. One element has another exponent than
// all others: it is counted if it is the sampled one of its piece, whatever the block that is counted at a time.
TEST(ExponentCounterTest, CountsTheElementsOfTheSample) {
  for (const int size : {257, 1000, 1024, 4096, 5000, 20'000, 50'176}) {
    for (const int64_t step : {0, 1, 77}) {
      const ExponentSample sample(size, step);
      std::vector<float> tensor(size, 1.5f);
      int64_t expected = 0;
      for (int64_t piece = 0; sample.IndexIn(piece) < size; ++piece) {
        tensor[sample.IndexIn(piece)] = 3;
        ++expected;
      }
      const HistogramCounts histogram = Count(tensor, sample);
      EXPECT_EQ(histogram.positive()[128], expected) << size << " " << step;
      EXPECT_EQ(Total(histogram), expected) << size << " " << step;
    }
  }
}

TEST(ExponentCounterTest, EveryExponentHasItsBucket) {
  std::vector<float> tensor;
  for (int exponent = 1; exponent < HistogramCounts::kBuckets; ++exponent) {
    tensor.push_back(std::ldexp(1.0f, exponent + HistogramCounts::kMinExponent));
    tensor.insert(tensor.end(), 2, -1.5f * tensor.back());
  }
  const HistogramCounts histogram = Count(tensor, ExponentSample(1, 0));
  for (int bucket = 0; bucket < HistogramCounts::kBuckets; ++bucket) {
    EXPECT_EQ(histogram.positive()[bucket], bucket > 0 ? 1 : 0) << bucket;
    EXPECT_EQ(histogram.negative()[bucket], bucket > 0 ? 2 : 0) << bucket;
  }
}

// The share p of a bucket has a standard error of sqrt(p (1 - p) / n): over many tensors its errors, in that unit, have
// mean 0 and mean square 1.
TEST(ExponentCounterTest, SharesAreUnbiasedAndOffByTheirStandardError) {
  constexpr int kSize = 30'000, kTensors = 400;
  const double p = 0.5 * (std::erf(1 / std::sqrt(2)) - std::erf(0.5 / std::sqrt(2)));  // 0.5 <= x < 1
  double sum = 0, squares = 0;
  for (int i = 0; i < kTensors; ++i) {
    Random random(i, RandomStream::kSyntheticData, 0);
    std::vector<float> tensor(kSize);
    for (float& x : tensor) x = static_cast<float>(random.NextNormal());
    const HistogramCounts histogram = Count(tensor, ExponentSample(kSize, i));
    const double n = static_cast<double>(Total(histogram));
    ASSERT_NEAR(n, 468.75, 1);  // stride 64
    const double error = (histogram.positive()[126] / n - p) / std::sqrt(p * (1 - p) / n);
    sum += error;
    squares += error * error;
  }
  EXPECT_LT(std::fabs(sum / kTensors), 4 / std::sqrt(kTensors));
  EXPECT_NEAR(squares / kTensors, 1, 4 * std::sqrt(2.0 / kTensors));
}

}  // namespace
}  // namespace gradwatch::core
