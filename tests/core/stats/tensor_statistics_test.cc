#include "core/stats/tensor_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <type_traits>
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
TensorStatistics Full(const std::vector<T>& gradient, int64_t step = 0, int64_t zeros_before = 0) {
  TensorStatistics statistics;
  statistics.zero_count = zeros_before;
  FullPass<T> pass = {.step = step};
  MeasureFull(std::span<const T>(gradient), &pass, &statistics);
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

// What the header allows.
template <typename T>
constexpr double kDeviationRounding = std::is_same_v<T, float> ? 1e-5 : 1e-9;

// Every element is counted once in as many steps as the sample's stride.
template <typename T>
void ExpectHistogramOf(const TensorStatistics& expected, const std::vector<T>& gradient) {
  HistogramCounts sum;
  for (int64_t step = 0, stride = 1; step < stride; ++step) {
    const TensorStatistics full = Full(gradient, step);
    stride = full.histogram_stride;
    for (int key = 0; key < HistogramCounts::kKeys; ++key) sum.counts[key] += full.histogram.counts[key];
  }
  EXPECT_EQ(sum.counts, expected.histogram.counts);
}

void ExpectSame(const TensorStatistics& a, const TensorStatistics& b) {
  EXPECT_EQ(a.l2_norm, b.l2_norm);
  EXPECT_EQ(a.max_abs, b.max_abs);
  EXPECT_EQ(a.mean, b.mean);
  EXPECT_EQ(a.mean_abs, b.mean_abs);
  EXPECT_EQ(a.std_dev, b.std_dev);
  EXPECT_EQ(a.non_finite(), b.non_finite());
  EXPECT_EQ(a.zero_count, b.zero_count);
  EXPECT_EQ(a.denormal_count, b.denormal_count);
  EXPECT_EQ(a.histogram.counts, b.histogram.counts);
}

template <typename T>
void ExpectLikeReference(const std::vector<T>& gradient) {
  SCOPED_TRACE(::testing::Message() << gradient.size() << " elements");
  const TensorStatistics expected = ReferenceStatistics(gradient);
  const TensorStatistics full = Full(gradient);
  // Less than the header allows for sums of floats.
  const double rounding = std::is_same_v<T, float> ? 1.8e-7 : 1e-12;
  ExpectClose(full.l2_norm, expected.l2_norm, expected.l2_norm, "l2_norm");
  EXPECT_NEAR(full.mean_abs, expected.mean_abs, rounding * expected.mean_abs);
  // It may be small against the magnitudes that it is made of.
  EXPECT_NEAR(full.mean, expected.mean, rounding * expected.mean_abs);
  EXPECT_NEAR(full.std_dev, expected.std_dev, kDeviationRounding<T> * expected.std_dev);
  EXPECT_EQ(full.max_abs, expected.max_abs);
  EXPECT_EQ(full.nan_count, expected.nan_count);
  EXPECT_EQ(full.pos_inf_count, expected.pos_inf_count);
  EXPECT_EQ(full.neg_inf_count, expected.neg_inf_count);
  EXPECT_EQ(full.zero_count, expected.zero_count);
  EXPECT_EQ(full.denormal_count, expected.denormal_count);
  ExpectHistogramOf(expected, gradient);

  // What was there before must only make it faster or slower.
  ExpectSame(Full(gradient, 0, 1), full);

  const TensorStatistics norm = Norm(gradient);
  // The norm is what clipping works with; it must not depend on how much is watched.
  EXPECT_EQ(norm.l2_norm, full.l2_norm);
  EXPECT_EQ(norm.max_abs, expected.max_abs);
  EXPECT_EQ(norm.nan_count, expected.nan_count);
  EXPECT_EQ(norm.pos_inf_count, expected.pos_inf_count);
  EXPECT_EQ(norm.neg_inf_count, expected.neg_inf_count);
  EXPECT_EQ(norm.mean_abs, 0);
}

template <typename T>
class TensorStatisticsTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TensorStatisticsTest, Scalars);

TYPED_TEST(TensorStatisticsTest, AgreesWithTheReferenceAtEverySize) {
  for (int64_t size = 0; size <= 70; ++size) {
    ExpectLikeReference(Normal<TypeParam>(size, 1e-3, size));
  }
  for (const int64_t size : {127, 128, 129, 1023, 1024, 1025, 4095, 4096, 4097, 4111, 8192, 12345, 100001}) {
    ExpectLikeReference(Normal<TypeParam>(size, 1e-3, size));
  }
}

TYPED_TEST(TensorStatisticsTest, CountsEverySpecialValueAtEveryPosition) {
  using Limits = std::numeric_limits<TypeParam>;
  const TypeParam specials[] = {
      Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN(), Limits::infinity(),    -Limits::infinity(),
      TypeParam(0),        -TypeParam(0),        Limits::denorm_min(),    -Limits::denorm_min(), Limits::min() / 2,
      Limits::min(),       -Limits::min(),       Limits::max() / 8};
  for (const TypeParam special : specials) {
    for (int position = 0; position < 150; ++position) {
      auto gradient = Normal<TypeParam>(150, 1, 5);
      gradient[position] = special;
      ExpectLikeReference(gradient);
    }
  }
}

// Zeros are counted where some vectors in a row hold one, whatever else these hold.
TEST(TensorStatisticsOfFloatTest, SpecialNumbersAmongZerosAreCounted) {
  using Limits = std::numeric_limits<float>;
  const float specials[] = {
      0.0f,          -0.0f, Limits::denorm_min(), Limits::min() / 2, Limits::quiet_NaN(), Limits::infinity(),
      Limits::max(), 1.0f};
  for (const int64_t size : {1, 10, 16, 64, 150, 4096, 4113, 20'000}) {
    for (const float special : specials) {
      for (const int64_t zeros_every : {1, 7, 200, 3000}) {
        auto gradient = Normal<float>(size, 1, 3);
        for (int64_t i = 0; i < size; i += zeros_every) gradient[i] = 0;
        for (int64_t i = size / 3; i < size; i += 130) gradient[i] = special;
        SCOPED_TRACE(::testing::Message() << size << " elements, " << special << ", zeros every " << zeros_every);
        ExpectLikeReference(gradient);
      }
    }
  }
}

TYPED_TEST(TensorStatisticsTest, NonFiniteElementsLeaveTheFinitePartAlone) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  const TensorStatistics s = Full<TypeParam>({3, nan, -4, inf, -inf, nan});
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
  const TensorStatistics s = Full<TypeParam>(std::vector<TypeParam>(5000, nan));
  EXPECT_EQ(s.nan_count, 5000);
  EXPECT_EQ(s.l2_norm, 0);
  EXPECT_EQ(s.mean, 0);
  EXPECT_EQ(s.std_dev, 0);
  EXPECT_EQ(s.max_abs, 0);
  EXPECT_EQ(s.histogram.counts, HistogramCounts().counts);
}

TYPED_TEST(TensorStatisticsTest, NothingButDenormalNumbersAndZeros) {
  using Limits = std::numeric_limits<TypeParam>;
  auto gradient = Normal<TypeParam>(9001, 1, 9);
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] = i % 7 == 0 ? TypeParam(0) : std::copysign(Limits::denorm_min() * TypeParam(i), gradient[i]);
  }
  const TensorStatistics s = Full(gradient);
  EXPECT_EQ(s.zero_count, 1286);
  EXPECT_EQ(s.denormal_count, 9001 - 1286);
  if (std::is_same_v<TypeParam, float>) ExpectLikeReference(gradient);
}

TYPED_TEST(TensorStatisticsTest, TheLargestAndTheSmallestSideBySide) {
  using Limits = std::numeric_limits<float>;
  auto gradient = Normal<TypeParam>(9001, 1, 10);
  for (size_t i = 0; i < gradient.size(); ++i) {
    if (i % 3 == 0) gradient[i] = i % 2 == 0 ? Limits::max() : -Limits::max();
    if (i % 5 == 0) gradient[i] = Limits::min();
  }
  ExpectLikeReference(gradient);
}

TYPED_TEST(TensorStatisticsTest, LargeFiniteGradientsDoNotOverflow) {
  const TensorStatistics s = Full<TypeParam>(std::vector<TypeParam>(100, TypeParam(1e20)));
  EXPECT_NEAR(s.l2_norm / 1e21, 1, 1e-6);  // 1e20 is not a float
  EXPECT_NEAR(s.mean / 1e20, 1, 1e-6);
  EXPECT_EQ(s.non_finite(), 0);
  for (int exponent = 110; exponent < 128; ++exponent) {
    const double size = std::ldexp(2 - 1e-6, exponent);  // just below a power of two
    const TensorStatistics large = Full<TypeParam>(std::vector<TypeParam>(4096, static_cast<TypeParam>(size)));
    EXPECT_NEAR(large.mean / size, 1, 1e-6) << exponent;
    EXPECT_NEAR(large.mean_abs / size, 1, 1e-6) << exponent;
  }
}

TYPED_TEST(TensorStatisticsTest, EqualElementsDoNotDeviate) {
  using Limits = std::numeric_limits<TypeParam>;
  const TypeParam values[] = {TypeParam(0.1), TypeParam(-0.7),    TypeParam(1e30),        TypeParam(1e-30),
                              Limits::max(),  -Limits::max() / 3, Limits::denorm_min(),   TypeParam(0),
                              Limits::min(),  TypeParam(1) / 3,   -Limits::min() / 1'000, -TypeParam(0)};
  for (const TypeParam value : values) {
    for (const int size : {1, 2, 3, 17, 33, 255, 1000, 4096, 4097, 12'345}) {
      std::vector<TypeParam> gradient(size, value);
      TensorStatistics s = Full(gradient);
      EXPECT_EQ(s.std_dev, 0) << value << " " << size;
      EXPECT_EQ(s.mean, value) << value << " " << size;
      gradient[0] = Limits::quiet_NaN();
      gradient.back() = -Limits::infinity();
      s = Full(gradient);
      EXPECT_EQ(s.std_dev, 0) << value << " " << size;
      EXPECT_EQ(s.mean, size > 2 ? value : 0) << value << " " << size;
    }
  }
}

// Of normal numbers with a mean, all scaled; what deviates is as little as the type can hold.
template <typename T>
std::vector<T> Around(double mean, double deviation, double scale, const std::vector<double>& normal, size_t size) {
  std::vector<T> values(size);
  for (size_t i = 0; i < size; ++i) values[i] = static_cast<T>((mean + deviation * normal[i]) * scale);
  return values;
}

TYPED_TEST(TensorStatisticsTest, TheDeviationIsRightWhateverTheMean) {
  using Limits = std::numeric_limits<TypeParam>;
  const std::vector<double> normal = Normal<double>(12'289, 1, 11);
  enum Guest { kNone, kNonFinite, kOutlier, kGuests };
  for (const size_t size : {1, 2, 3, 15, 16, 17, 31, 33, 63, 65, 255, 256, 257, 1000, 4095, 4096, 4097, 12'289}) {
    for (const double deviation : {1.0, 0.35, 0.3, 0.25, 0.2, 0.1, 1e-2, 1e-4, 1e-6, 1e-7}) {
      for (const double mean : {0.0, 1.0, -1.0}) {
        for (const double scale : {1e-42, 1e-30, 0.07, 1.0, 1e30, 1e37}) {
          for (int guest = kNone; guest < kGuests; ++guest) {
            auto gradient = Around<TypeParam>(mean, deviation, scale, normal, size);
            if (guest == kNonFinite) {
              for (size_t i = 0; i < size; i += 37) gradient[i] = i % 2 == 0 ? Limits::quiet_NaN() : Limits::infinity();
            } else if (guest == kOutlier) {
              gradient[0] *= 5;
            }
            const TensorStatistics expected = ReferenceStatistics(gradient), full = Full(gradient);
            SCOPED_TRACE(::testing::Message() << size << " elements, mean " << mean << ", deviation " << deviation
                                              << ", scale " << scale << ", guest " << guest);
            ASSERT_NEAR(full.std_dev, expected.std_dev, kDeviationRounding<TypeParam> * expected.std_dev);
            ASSERT_NEAR(full.mean, expected.mean, 3e-7 * expected.mean_abs);
            // Where the deviation is small it is measured from the mean.
            if (expected.std_dev < 0.2 * std::fabs(expected.mean)) {
              ASSERT_NEAR(full.mean, expected.mean, 1e-9 * expected.std_dev + 1e-15 * expected.mean_abs);
              ASSERT_GE(full.mean_abs, std::fabs(full.mean));
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(TensorStatisticsTest, AHistogramThatIsNotAskedForIsLeftAloneAndNothingElseChanges) {
  using Limits = std::numeric_limits<TypeParam>;
  for (const int64_t size : {0, 1, 100, 256, 257, 5'000, 20'001}) {
    for (const TypeParam special :
         {TypeParam(1), TypeParam(0), Limits::denorm_min(), Limits::quiet_NaN(), Limits::infinity(), Limits::max()}) {
      SCOPED_TRACE(::testing::Message() << size << " elements, " << special);
      auto gradient = Normal<TypeParam>(size, 1, 12);
      for (int64_t i = size / 2; i < size; i += 11) gradient[i] = special;
      TensorStatistics rested;
      rested.histogram.counts.fill(7);
      rested.weight_norm = rested.update_norm = rested.clip_scale = 0.5;  // of an older step
      const HistogramCounts before = rested.histogram;
      FullPass<TypeParam> pass = {.step = 3, .counts_exponents = false};
      MeasureFull(std::span<const TypeParam>(gradient), &pass, &rested);
      EXPECT_EQ(rested.histogram.counts, before.counts);
      const TensorStatistics counted = Full(gradient, 3);
      EXPECT_EQ(rested.histogram_stride, counted.histogram_stride);
      EXPECT_EQ(rested.weight_norm, 0);
      EXPECT_EQ(rested.update_norm, 0);
      EXPECT_EQ(rested.clip_scale, 1);
      EXPECT_TRUE(std::isnan(rested.cosine_with_last));
      MeasureNorm(std::span<const TypeParam>(gradient), &rested);
      EXPECT_EQ(rested.histogram.counts, before.counts);
      MeasureFull(std::span<const TypeParam>(gradient), &pass, &rested);
      MeasureHistogram(std::span<const TypeParam>(gradient), 3, &rested);
      ExpectSame(rested, counted);
      // Asked for again, nothing of the old one is left.
      rested.histogram = before;
      pass.counts_exponents = true;
      MeasureFull(std::span<const TypeParam>(gradient), &pass, &rested);
      ExpectSame(rested, counted);
    }
  }
}

TYPED_TEST(TensorStatisticsTest, TheLastGradientIsMultipliedAndReplaced) {
  for (const int64_t size : {1, 31, 128, 4096, 4097, 20001}) {
    SCOPED_TRACE(size);
    const auto gradient = Normal<TypeParam>(size, 1, size);
    auto last = Normal<TypeParam>(size, 1, size + 1);
    long double dot = 0, scale = 0;
    for (int64_t i = 0; i < size; ++i) {
      const long double product = static_cast<long double>(gradient[i]) * last[i];
      dot += product;
      scale += std::fabs(product);
    }
    TensorStatistics statistics;
    FullPass<TypeParam> pass = {.last_gradient = last.data()};
    MeasureFull(std::span<const TypeParam>(gradient), &pass, &statistics);
    EXPECT_NEAR(pass.dot, static_cast<double>(dot), 1e-14 * static_cast<double>(scale));
    EXPECT_EQ(last, gradient);
  }
}

TEST(TensorStatisticsOfDoubleTest, TheLargestNumbersDoNotOverflow) {
  EXPECT_DOUBLE_EQ(Norm<double>({3e200, 4e200}).l2_norm, 5e200);
  EXPECT_DOUBLE_EQ(Norm<double>({3e-200, 4e-200}).l2_norm, 5e-200);
}

TEST(TensorStatisticsOfFloatTest, TenMillionSmallNumbersAreSummedInDouble) {
  const auto gradient = Normal<float>(10'000'000, 1e-3, 7);
  const TensorStatistics expected = ReferenceStatistics(gradient);
  const TensorStatistics full = Full(gradient);
  EXPECT_NEAR(full.l2_norm / expected.l2_norm, 1, 1e-12);
  // Roundings of sums of eight, which cancel.
  EXPECT_NEAR(full.mean_abs / expected.mean_abs, 1, 1e-9);
  EXPECT_NEAR(full.mean / expected.mean_abs, expected.mean / expected.mean_abs, 1e-9);
}

TEST(TensorStatisticsOfFloatTest, ZerosAreNotInTheHistogram) {
  const int64_t size = 3'000'000;
  const TensorStatistics zeros = Full(std::vector<float>(size, -0.0f));
  EXPECT_EQ(zeros.zero_count, size);
  EXPECT_EQ(zeros.histogram.negative()[0], 0u);
}

TEST(TensorStatisticsOfFloatTest, TheResultIsTheSameWhateverTheAlignment) {
  const auto values = Normal<float>(10'000, 1, 8);
  std::vector<float> storage(values.size() + 16);
  const TensorStatistics expected = Full(values);
  for (int shift = 0; shift < 16; ++shift) {
    std::copy(values.begin(), values.end(), storage.begin() + shift);
    TensorStatistics s;
    FullPass<float> pass = {};
    MeasureFull(std::span<const float>(storage).subspan(shift, values.size()), &pass, &s);
    EXPECT_EQ(s.l2_norm, expected.l2_norm) << shift;
    EXPECT_EQ(s.mean, expected.mean) << shift;
    EXPECT_EQ(s.histogram.counts, expected.histogram.counts) << shift;
  }
}

}  // namespace
}  // namespace gradwatch::core
