#include "core/stats/tensor_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/base/random.h"
#include "tests/core/stats/reference_statistics.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ReferenceStatistics;

template <typename T>
std::vector<T> Normal(int64_t size, double scale, uint64_t seed) {
  Random random(seed, RandomStream::kSyntheticData, 0);
  std::vector<T> values(size);
  for (T& value : values) value = static_cast<T>(scale * random.NextNormal());
  return values;
}

template <typename T>
TensorStatistics Full(const std::vector<T>& gradient, const std::vector<T>& weights) {
  TensorStatistics statistics;
  MeasureFull(std::span<const T>(gradient), std::span<const T>(weights), &statistics);
  return statistics;
}

template <typename T>
TensorStatistics Norm(const std::vector<T>& gradient) {
  TensorStatistics statistics;
  MeasureNorm(std::span<const T>(gradient), &statistics);
  return statistics;
}

void ExpectClose(double actual, double expected, double scale, const char* what) {
  EXPECT_NEAR(actual, expected, 1e-12 * scale) << what;
}

template <typename T>
void ExpectLikeReference(const std::vector<T>& gradient, const std::vector<T>& weights) {
  SCOPED_TRACE(::testing::Message() << gradient.size() << " elements");
  const TensorStatistics expected = ReferenceStatistics(gradient, weights);
  const TensorStatistics full = Full(gradient, weights);
  ExpectClose(full.l2_norm, expected.l2_norm, expected.l2_norm, "l2_norm");
  ExpectClose(full.weight_norm, expected.weight_norm, expected.weight_norm, "weight_norm");
  ExpectClose(full.mean_abs, expected.mean_abs, expected.mean_abs, "mean_abs");
  // Both may be small against the magnitudes that they are made of.
  ExpectClose(full.mean, expected.mean, expected.mean_abs, "mean");
  EXPECT_NEAR(full.std_dev, expected.std_dev, 1e-7 * expected.mean_abs);
  EXPECT_EQ(full.max_abs, expected.max_abs);
  EXPECT_EQ(full.nan_count, expected.nan_count);
  EXPECT_EQ(full.pos_inf_count, expected.pos_inf_count);
  EXPECT_EQ(full.neg_inf_count, expected.neg_inf_count);
  EXPECT_EQ(full.zero_count, expected.zero_count);
  EXPECT_EQ(full.denormal_count, expected.denormal_count);
  EXPECT_EQ(full.histogram.positive, expected.histogram.positive);
  EXPECT_EQ(full.histogram.negative, expected.histogram.negative);

  const TensorStatistics norm = Norm(gradient);
  ExpectClose(norm.l2_norm, expected.l2_norm, expected.l2_norm, "l2_norm of level NORM");
  EXPECT_EQ(norm.max_abs, expected.max_abs);
  EXPECT_EQ(norm.nan_count, expected.nan_count);
  EXPECT_EQ(norm.pos_inf_count, expected.pos_inf_count);
  EXPECT_EQ(norm.neg_inf_count, expected.neg_inf_count);
  EXPECT_EQ(norm.mean_abs, 0);
  EXPECT_EQ(norm.weight_norm, 0);
}

template <typename T>
class TensorStatisticsTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TensorStatisticsTest, Scalars);

TYPED_TEST(TensorStatisticsTest, AgreesWithTheReferenceAtEverySize) {
  for (int64_t size = 0; size <= 70; ++size) {
    ExpectLikeReference(Normal<TypeParam>(size, 1e-3, size), Normal<TypeParam>(size, 1, size + 100));
  }
  for (const int64_t size : {4095, 4096, 4097, 4111, 8192, 12345, 600001}) {
    ExpectLikeReference(Normal<TypeParam>(size, 1e-3, size), Normal<TypeParam>(size, 1, size + 100));
  }
}

TYPED_TEST(TensorStatisticsTest, CountsEverySpecialValueAtEveryPosition) {
  using Limits = std::numeric_limits<TypeParam>;
  const TypeParam specials[] = {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN(),
                                Limits::infinity(),  -Limits::infinity(),  TypeParam(0),
                                -TypeParam(0),       Limits::denorm_min(), -Limits::denorm_min(),
                                Limits::min() / 2,   Limits::min(),        -Limits::min()};
  for (const TypeParam special : specials) {
    for (int position = 0; position < 35; ++position) {
      auto gradient = Normal<TypeParam>(35, 1, 5);
      gradient[position] = special;
      ExpectLikeReference(gradient, Normal<TypeParam>(35, 1, 6));
    }
  }
}

TYPED_TEST(TensorStatisticsTest, NonFiniteElementsLeaveTheFinitePartAlone) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  const TensorStatistics s = Full<TypeParam>({3, nan, -4, inf, -inf, nan}, {1, 1, 1, 1, 1, 1});
  EXPECT_EQ(s.l2_norm, 5);
  EXPECT_EQ(s.max_abs, 4);
  EXPECT_EQ(s.mean, -0.5);
  EXPECT_EQ(s.mean_abs, 3.5);
  EXPECT_DOUBLE_EQ(s.std_dev, 3.5);
  EXPECT_EQ(s.nan_count, 2);
  EXPECT_EQ(s.pos_inf_count, 1);
  EXPECT_EQ(s.neg_inf_count, 1);
  EXPECT_EQ(s.non_finite(), 4);
}

TYPED_TEST(TensorStatisticsTest, NothingFiniteIsAllZeros) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TensorStatistics s = Full<TypeParam>({nan, nan}, {1, 1});
  EXPECT_EQ(s.nan_count, 2);
  EXPECT_EQ(s.l2_norm, 0);
  EXPECT_EQ(s.mean, 0);
  EXPECT_EQ(s.std_dev, 0);
  EXPECT_EQ(s.max_abs, 0);
}

TYPED_TEST(TensorStatisticsTest, LargeFiniteGradientsDoNotOverflow) {
  const TensorStatistics s = Full<TypeParam>(std::vector<TypeParam>(100, TypeParam(1e20)), std::vector<TypeParam>(100));
  EXPECT_NEAR(s.l2_norm / 1e21, 1, 1e-6);  // 1e20 is not a float
  EXPECT_NEAR(s.mean / 1e20, 1, 1e-6);
  EXPECT_EQ(s.non_finite(), 0);
}

TYPED_TEST(TensorStatisticsTest, ABrokenWeightShowsInTheWeightNorm) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  EXPECT_TRUE(std::isnan(Full<TypeParam>({1, 2}, {1, nan}).weight_norm));
}

TEST(TensorStatisticsOfDoubleTest, TheLargestNumbersDoNotOverflow) {
  EXPECT_DOUBLE_EQ(Norm<double>({3e200, 4e200}).l2_norm, 5e200);
  EXPECT_DOUBLE_EQ(Norm<double>({3e-200, 4e-200}).l2_norm, 5e-200);
}

TEST(TensorStatisticsOfFloatTest, TenMillionSmallNumbersAreSummedInDouble) {
  const auto gradient = Normal<float>(10'000'000, 1e-3, 7);
  const auto weights = std::vector<float>(gradient.size(), 1e-3f);
  const TensorStatistics expected = ReferenceStatistics(gradient, weights);
  const TensorStatistics full = Full(gradient, weights);
  EXPECT_NEAR(full.l2_norm / expected.l2_norm, 1, 1e-12);
  EXPECT_NEAR(full.mean_abs / expected.mean_abs, 1, 1e-12);
  EXPECT_NEAR(full.weight_norm / expected.weight_norm, 1, 1e-12);
  EXPECT_NEAR(Norm(gradient).l2_norm / expected.l2_norm, 1, 1e-12);
}

TEST(TensorStatisticsOfFloatTest, ManyEqualExponentsDoNotOverflowTheirCounters) {
  const int64_t size = 3'000'000;
  const TensorStatistics s = Full(std::vector<float>(size, 1.5f), std::vector<float>(size, 0.0f));
  EXPECT_EQ(s.histogram.positive[127], size);
  const TensorStatistics zeros = Full(std::vector<float>(size, -0.0f), std::vector<float>(size, 0.0f));
  EXPECT_EQ(zeros.zero_count, size);
  EXPECT_EQ(zeros.histogram.negative[0], 0u);
}

TEST(TensorStatisticsOfFloatTest, TheResultIsTheSameWhateverTheAlignment) {
  const auto values = Normal<float>(10'000, 1, 8);
  std::vector<float> storage(values.size() + 16);
  const double expected = Norm(values).l2_norm;
  for (int shift = 0; shift < 16; ++shift) {
    std::copy(values.begin(), values.end(), storage.begin() + shift);
    TensorStatistics s;
    MeasureNorm(std::span<const float>(storage).subspan(shift, values.size()), &s);
    EXPECT_EQ(s.l2_norm, expected) << shift;
  }
}

}  // namespace
}  // namespace gradwatch::core
