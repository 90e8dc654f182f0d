// What pooling does exactly, and against its definition written out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "tests/support/layer_run.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ImageData;
using ::gradwatch::testing::LayerRun;
using ::testing::ElementsAre;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Shape Image(int64_t channels, int64_t height, int64_t width) { return ImageData(channels, height, width, 1).input; }

// Small integers, so that sums of few are exact in float and many are equal.
std::vector<float> Integers(int64_t count, uint64_t index) {
  Random random(1, RandomStream::kSyntheticData, index);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = static_cast<float>(random.NextBelow(9)) - 4;
  return numbers;
}

std::string Layer(bool max, int64_t kernel, int64_t stride) {
  return absl::StrCat("pool2d { mode: ", max ? "MODE_MAX" : "MODE_AVERAGE", " kernel: ", kernel, " stride: ", stride,
                      " }");
}

void Check(bool max, int64_t planes, int64_t height, int64_t width, int64_t kernel, int64_t stride) {
  LayerRun<float> layer(Layer(max, kernel, stride), Image(planes, height, width), 1);
  const int64_t rows = (height - kernel) / stride + 1, columns = (width - kernel) / stride + 1;
  ASSERT_EQ(layer.output(), Image(planes, rows, columns));
  const std::vector<float> x = Integers(planes * height * width, 0), dy = Integers(planes * rows * columns, 1);
  const float area = static_cast<float>(kernel * kernel);
  std::vector<float> y, dx(x.size());
  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        float sum = 0;
        int64_t best = -1;
        for (int64_t u = 0; u < kernel; ++u) {
          for (int64_t v = 0; v < kernel; ++v) {
            const int64_t pixel = (plane * height + i * stride + u) * width + j * stride + v;
            sum += x[pixel];
            if (best < 0 || x[pixel] > x[best]) best = pixel;
            if (!max) dx[pixel] += dy[y.size()] / area;
          }
        }
        if (max) dx[best] += dy[y.size()];
        y.push_back(max ? x[best] : sum / area);
      }
    }
  }
  EXPECT_EQ(layer.Forward(x), y);
  const std::vector<float> actual = layer.Backward(x, dy);
  for (size_t i = 0; i < dx.size(); ++i) ASSERT_NEAR(actual[i], dx[i], 1e-5) << i;
}

TEST(Pool2dTest, IsItsDefinitionForOddExtents) {
  for (const bool max : {true, false}) {
    for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {9, 4}, {17, 35}}) {
      for (const int64_t kernel : {1, 2, 3, 4}) {
        for (const int64_t stride : {1, 2, 3, 5}) {
          if (kernel > std::min(height, width)) continue;
          SCOPED_TRACE(absl::StrCat(height, " x ", width, ": ", Layer(max, kernel, stride)));
          Check(max, 3, height, width, kernel, stride);
        }
      }
    }
  }
}

TEST(Pool2dTest, TheStrideIsTheKernelUnlessSet) {
  LayerRun<float> layer("pool2d { mode: MODE_MAX kernel: 3 }", Image(2, 7, 9), 4);
  EXPECT_EQ(layer.output(), Image(2, 2, 3));
}

TEST(Pool2dTest, AConstantStaysItself) {
  for (const bool max : {true, false}) {
    for (const int64_t kernel : {1, 2, 3, 5}) {
      LayerRun<double> layer(Layer(max, kernel, 2), Image(2, 8, 7), 2);
      for (const double y : layer.Forward(std::vector<double>(224, -3.0))) EXPECT_EQ(y, -3) << kernel;
    }
  }
}

TEST(Pool2dTest, TheFirstOfEqualMaximaGetsTheGradient) {
  LayerRun<float> layer("pool2d { mode: MODE_MAX kernel: 2 }", Image(1, 2, 4), 1);
  const std::vector<float> x = {1, 5, -kInfinity, -kInfinity,  //
                                5, 5, -kInfinity, -kInfinity};
  EXPECT_THAT(layer.Forward(x), ElementsAre(5, -kInfinity));
  EXPECT_THAT(layer.Backward(x, {2, 3}), ElementsAre(0, 2, 3, 0, 0, 0, 0, 0));
}

TEST(Pool2dTest, NanIsTheMaximumOfItsWindowAlone) {
  LayerRun<float> layer("pool2d { mode: MODE_MAX kernel: 2 }", Image(1, 2, 6), 1);
  const std::vector<float> x = {kNan, 5, 1, 2, kInfinity, 1,  //
                                7,    1, 4, 3, kNan,      1};
  const std::vector<float>& y = layer.Forward(x);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], 4);
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_THAT(layer.Backward(x, {1, 2, 3}), ElementsAre(1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0));
}

// A gradient of NaN goes where its value came from, and nowhere else.
TEST(Pool2dTest, ANanGradientDoesNotSpread) {
  LayerRun<float> layer("pool2d { mode: MODE_MAX kernel: 2 }", Image(1, 2, 4), 1);
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
  layer.Forward(x);
  const std::vector<float> dx = layer.Backward(x, {kNan, 1});
  EXPECT_TRUE(std::isnan(dx[5]));
  EXPECT_EQ(
      std::accumulate(dx.begin(), dx.end(), 0.0f, [](float sum, float g) { return std::isnan(g) ? sum : sum + g; }), 1);
}

}  // namespace
}  // namespace gradwatch::core
