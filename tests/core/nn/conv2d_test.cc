// What a convolution does exactly, and against its definition written out.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
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

using Vector = std::vector<double>;

Shape Image(int64_t channels, int64_t height, int64_t width) { return ImageData(channels, height, width, 1).input; }

Vector Normals(int64_t count, uint64_t index) {
  Random random(1, RandomStream::kSyntheticData, index);
  Vector numbers(count);
  for (double& number : numbers) number = static_cast<float>(random.NextNormal());  // exact in float too
  return numbers;
}

struct Geometry {
  int64_t images, channels, height, width, outputs, kernel, stride, padding;

  int64_t rows() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t columns() const { return (width + 2 * padding - kernel) / stride + 1; }
  std::string layer() const {
    return absl::StrCat("conv2d { channels: ", outputs, " kernel: ", kernel, " stride: ", stride, " padding: ", padding,
                        " }");
  }
};

// Results, and beside each the sum of the magnitudes of its terms and their number, which bound its rounding.
struct Sums {
  Vector value, magnitude;
  std::vector<int64_t> terms;

  explicit Sums(int64_t size) : value(size), magnitude(size), terms(size) {}
  void Add(int64_t i, double term) {
    value[i] += term;
    magnitude[i] += std::abs(term);
    ++terms[i];
  }
};

struct Reference {
  Sums y, dx, dw, db;
};

// The definition: seven loops.
Reference Convolve(const Geometry& g, const Vector& x, const Vector& w, const Vector& b, const Vector& dy) {
  Reference r{Sums(dy.size()), Sums(x.size()), Sums(w.size()), Sums(b.size())};
  int64_t out = 0;
  for (int64_t n = 0; n < g.images; ++n) {
    for (int64_t o = 0; o < g.outputs; ++o) {
      for (int64_t i = 0; i < g.rows(); ++i) {
        for (int64_t j = 0; j < g.columns(); ++j, ++out) {
          r.y.Add(out, b[o]);
          r.db.Add(o, dy[out]);
          for (int64_t c = 0; c < g.channels; ++c) {
            for (int64_t u = 0; u < g.kernel; ++u) {
              for (int64_t v = 0; v < g.kernel; ++v) {
                const int64_t row = i * g.stride + u - g.padding, column = j * g.stride + v - g.padding;
                if (row < 0 || row >= g.height || column < 0 || column >= g.width) continue;
                const int64_t in = ((n * g.channels + c) * g.height + row) * g.width + column;
                const int64_t weight = ((o * g.channels + c) * g.kernel + u) * g.kernel + v;
                r.y.Add(out, w[weight] * x[in]);
                r.dx.Add(in, w[weight] * dy[out]);
                r.dw.Add(weight, dy[out] * x[in]);
              }
            }
          }
        }
      }
    }
  }
  return r;
}

// A sum of n terms in any order is off by at most about n u times the sum of their magnitudes, u being half an epsilon
// (Higham 2002, section 3.1); the reference in double may be off as well.
template <typename T>
void ExpectWithinRounding(std::span<const T> actual, const Sums& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.value.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double bound = (expected.terms[i] + 1) * static_cast<double>(std::numeric_limits<T>::epsilon());
    ASSERT_NEAR(actual[i], expected.value[i], bound * expected.magnitude[i]) << what << " " << i;
  }
}

template <typename T>
std::vector<T> As(const Vector& numbers) {
  return {numbers.begin(), numbers.end()};
}

template <typename T>
void Check(const Geometry& g, const Vector& x, const Vector& w, const Vector& b, const Vector& dy,
           const Reference& reference) {
  LayerRun<T> layer(g.layer(), Image(g.channels, g.height, g.width), g.images);
  ASSERT_EQ(layer.output(), Image(g.outputs, g.rows(), g.columns()));
  std::copy(w.begin(), w.end(), layer.parameter(0).begin());
  std::copy(b.begin(), b.end(), layer.parameter(1).begin());
  const std::vector<T> input = As<T>(x);
  ExpectWithinRounding<T>(layer.Forward(input), reference.y, "output");
  const std::vector<T> dx = layer.Backward(input, As<T>(dy));
  ExpectWithinRounding<T>(dx, reference.dx, "gradient of the input");
  ExpectWithinRounding<T>(layer.gradient(0), reference.dw, "gradient of the weight");
  ExpectWithinRounding<T>(layer.gradient(1), reference.db, "gradient of the bias");
}

void CheckBoth(const Geometry& g) {
  SCOPED_TRACE(absl::StrCat(g.images, " of ", g.channels, " x ", g.height, " x ", g.width, ": ", g.layer()));
  const Vector x = Normals(g.images * g.channels * g.height * g.width, 0);
  const Vector w = Normals(g.outputs * g.channels * g.kernel * g.kernel, 1), b = Normals(g.outputs, 2);
  const Vector dy = Normals(g.images * g.outputs * g.rows() * g.columns(), 3);
  const Reference reference = Convolve(g, x, w, b, dy);
  Check<double>(g, x, w, b, dy, reference);
  Check<float>(g, x, w, b, dy, reference);
}

TEST(Conv2dTest, IsItsDefinitionForOddExtents) {
  int checked = 0;
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {8, 3}, {13, 11}}) {
    for (const int64_t kernel : {1, 2, 3, 5}) {
      for (const int64_t stride : {1, 2, 3, 4}) {
        for (const int64_t padding : {0, 1, 2, 6}) {
          if (kernel > std::min(height, width) + 2 * padding) continue;
          CheckBoth({1 + checked % 3, 1 + checked % 2 * 2, height, width, 1 + checked % 5, kernel, stride, padding});
          ++checked;
        }
      }
    }
  }
  EXPECT_GT(checked, 150);
}

TEST(Conv2dTest, IsItsDefinitionWhereBlocksEndWithinImages) {
  CheckBoth({5, 3, 40, 37, 2, 5, 1, 0});     // a block ends in the middle of an image
  CheckBoth({3, 1, 61, 47, 3, 3, 2, 1});     // and spans several
  CheckBoth({2, 64, 9, 30, 2, 5, 1, 2});     // a row of the window is more than a block
  CheckBoth({150, 1, 10, 10, 2, 3, 1, 1});   // many images to a block
  CheckBoth({1, 1, 130, 70, 1, 63, 1, 31});  // the largest kernel
}

TEST(Conv2dTest, ADeltaShiftsTheImage) {
  constexpr int64_t kHeight = 6, kWidth = 9, kKernel = 5, kPadding = 2;
  LayerRun<float> layer("conv2d { channels: 1 kernel: 5 padding: 2 }", Image(1, kHeight, kWidth), 1);
  const std::vector<float> x = As<float>(Normals(kHeight * kWidth, 0));
  for (int64_t u = 0; u < kKernel; ++u) {
    for (int64_t v = 0; v < kKernel; ++v) {
      std::ranges::fill(layer.parameter(0), 0.0f);
      layer.parameter(0)[u * kKernel + v] = 1;
      const std::vector<float>& y = layer.Forward(x);
      for (int64_t i = 0; i < kHeight; ++i) {
        for (int64_t j = 0; j < kWidth; ++j) {
          const int64_t row = i + u - kPadding, column = j + v - kPadding;
          const bool inside = row >= 0 && row < kHeight && column >= 0 && column < kWidth;
          ASSERT_EQ(y[i * kWidth + j], inside ? x[row * kWidth + column] : 0) << u << " " << v << ": " << i << " " << j;
        }
      }
    }
  }
}

TEST(Conv2dTest, OneByOneIsADenseLayerOfEveryPixel) {
  constexpr int64_t kChannels = 3, kPixels = 4 * 5, kUnits = 6;
  LayerRun<double> conv("conv2d { channels: 6 kernel: 1 }", Image(kChannels, 4, 5), 1);
  LayerRun<double> dense("dense { units: 6 }", {.features = kChannels}, kPixels);  // pixels as examples
  for (const int tensor : {0, 1}) {
    const Vector values = Normals(conv.parameter(tensor).size(), tensor);
    ASSERT_EQ(values.size(), dense.parameter(tensor).size());
    std::ranges::copy(values, conv.parameter(tensor).begin());
    std::ranges::copy(values, dense.parameter(tensor).begin());
  }
  const auto transposed = [](const Vector& x, int64_t rows) {
    Vector y(x.size());
    const int64_t columns = x.size() / rows;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) y[c * rows + r] = x[r * columns + c];
    }
    return y;
  };
  const Vector x = Normals(kChannels * kPixels, 2), dy = Normals(kUnits * kPixels, 3);
  const Vector pixels = transposed(x, kChannels);
  const Vector y = conv.Forward(x), expected = transposed(dense.Forward(pixels), kPixels);
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-14);
  const Vector dx = conv.Backward(x, dy),
               expected_dx = transposed(dense.Backward(pixels, transposed(dy, kUnits)), kPixels);
  for (size_t i = 0; i < dx.size(); ++i) ASSERT_NEAR(dx[i], expected_dx[i], 1e-13);
  for (const int tensor : {0, 1}) {
    for (size_t i = 0; i < conv.gradient(tensor).size(); ++i) {
      ASSERT_NEAR(conv.gradient(tensor)[i], dense.gradient(tensor)[i], 1e-13);
    }
  }
}

// With a border of zeros as wide as the shift: moving the image by stride pixels moves the output by one.
TEST(Conv2dTest, IsEquivariantToTranslations) {
  constexpr int64_t kSide = 16;
  for (const int64_t stride : {1, 2}) {
    LayerRun<double> layer(absl::StrCat("conv2d { channels: 2 kernel: 3 padding: 1 stride: ", stride, " }"),
                           Image(1, kSide, kSide), 1);
    std::ranges::copy(Normals(18, 0), layer.parameter(0).begin());
    const Vector content = Normals(36, 1);
    const auto output = [&](int64_t down, int64_t right) {
      Vector x(kSide * kSide);
      for (int64_t i = 0; i < 6; ++i) std::copy_n(&content[i * 6], 6, &x[(4 + down + i) * kSide + 4 + right]);
      return layer.Forward(x);
    };
    const Vector still = output(0, 0), moved = output(2 * stride, stride);
    const int64_t side = layer.output().height;
    for (int64_t c = 0; c < 2; ++c) {
      for (int64_t i = 0; i + 2 < side; ++i) {
        for (int64_t j = 0; j + 1 < side; ++j) {
          ASSERT_NEAR(moved[(c * side + i + 2) * side + j + 1], still[(c * side + i) * side + j], 1e-14);
        }
      }
    }
  }
}

TEST(Conv2dTest, NanReachesOnlyTheWindowsThatSeeIt) {
  LayerRun<float> layer("conv2d { channels: 1 kernel: 3 padding: 1 }", Image(1, 7, 8), 1);
  std::ranges::fill(layer.parameter(0), 1.0f);
  std::vector<float> x(56, 1.0f);
  x[3 * 8 + 4] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float>& y = layer.Forward(x);
  for (int64_t i = 0; i < 7; ++i) {
    for (int64_t j = 0; j < 8; ++j) {
      EXPECT_EQ(std::isnan(y[i * 8 + j]), std::abs(i - 3) <= 1 && std::abs(j - 4) <= 1) << i << " " << j;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
