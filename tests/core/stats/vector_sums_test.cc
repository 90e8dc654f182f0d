#include "core/stats/vector_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace gradwatch::core {
namespace {

TEST(VectorSumsTest, SumsEveryElementAtEverySize) {
  for (int size = 0; size <= 100; ++size) {
    std::vector<float> values(size);
    double expected = 0;
    for (int i = 0; i < size; ++i) {
      values[i] = static_cast<float>(i + 1);
      expected += static_cast<double>(i + 1) * (i + 1);
    }
    EXPECT_EQ(SumOfSquares(values.data(), size), expected) << size;
    const std::vector<double> doubles(values.begin(), values.end());
    EXPECT_EQ(SumOfSquares(doubles.data(), size), expected) << size;
  }
}

TEST(VectorSumsTest, SquaresOfFloatsNeitherOverflowNorUnderflow) {
  const std::vector<float> large(50, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(SumOfSquares(large.data(), 50)));
  const std::vector<float> tiny(50, std::numeric_limits<float>::denorm_min());
  EXPECT_DOUBLE_EQ(SumOfSquares(tiny.data(), 50), 50 * std::ldexp(1.0, -298));
}

// Squares are added as floats where they can be; everywhere else, and where both meet, in double.
TEST(VectorSumsTest, IsAsExactAsTheHeaderSaysAtEveryMagnitude) {
  for (int exponent = -149; exponent < 127; exponent += 3) {
    for (const int size : {1, 15, 64, 500, 512, 1000, 20'000}) {
      std::vector<float> values(size);
      double expected = 0;
      for (int i = 0; i < size; ++i) {
        values[i] = std::ldexp(1 + 0.37f * static_cast<float>(i % 7) / 3, exponent - (i % 5 == 0 ? 20 : 0));
        expected += static_cast<double>(values[i]) * values[i];
      }
      EXPECT_NEAR(SumOfSquares(values.data(), size), expected, 4e-7 * expected) << exponent << " " << size;
    }
  }
}

TEST(VectorSumsTest, TinyHugeAndUsualNumbersOneAfterTheOther) {
  const float scales[] = {1, 1e-25f, 0, 1, 1e25f, 1, 0, 1e-25f, 1e-25f, 1e-3f};
  for (const float only : {0.0f, 1e-25f, 1.0f, 1e25f}) {
    std::vector<float> values;
    double expected = 0;
    for (const float scale : scales) {
      for (int i = 0; i < 512; ++i) {
        values.push_back(scale <= only ? scale * static_cast<float>(i + 1) : 0);
        expected += static_cast<double>(values.back()) * values.back();
      }
    }
    EXPECT_NEAR(SumOfSquares(values.data(), static_cast<int64_t>(values.size())), expected, 4e-7 * expected) << only;
  }
}

TEST(VectorSumsTest, WhatIsNotFiniteShows) {
  for (const float broken : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (int i = 0; i < 70; ++i) {
      std::vector<float> values(70, 1);
      values[i] = broken;
      EXPECT_FALSE(std::isfinite(SumOfSquares(values.data(), 70))) << i;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
