#include "core/optim/initializer.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "tests/support/allocation_count.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

v1::Initializer Method(v1::InitializerMethod method) { return ResolveInitializer({}, method); }

// Resolved.
v1::Initializer Parse(const std::string& text) {
  v1::Initializer given;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &given)) << text;
  return ResolveInitializer(given, v1::INITIALIZER_METHOD_HE);
}

ParameterSegment Segment(std::vector<int64_t> shape, const v1::Initializer& initializer) {
  ParameterLayout layout;
  layout.Add("weight", std::move(shape), 0, initializer);
  return layout.segments()[0];
}

std::vector<double> Draw(const ParameterSegment& segment, uint64_t seed = 1, int index = 0) {
  std::vector<double> values(segment.size, -1);
  InitializeTensor(segment, seed, index, std::span<double>(values));
  return values;
}

struct Moments {
  double mean = 0, variance = 0, fourth = 0, largest = 0;
};

Moments MomentsOf(const std::vector<double>& values) {
  Moments m;
  for (const double v : values) {
    m.mean += v / values.size();
    m.variance += v * v / values.size();
    m.fourth += v * v * v * v / values.size();
    m.largest = std::max(m.largest, std::abs(v));
  }
  return m;
}

struct MomentCase {
  const char* initializer;
  bool uniform;
  double variance;  // for shape [300, 200]
};

TEST(InitializerTest, HasTheMomentsOfItsDefinition) {
  const MomentCase cases[] = {
      {"method: INITIALIZER_METHOD_XAVIER gain: 2", true, 4 * 2.0 / 500},
      {"method: INITIALIZER_METHOD_XAVIER gain: 2 uniform: false", false, 4 * 2.0 / 500},
      {"method: INITIALIZER_METHOD_HE gain: 2 uniform: true", true, 4 * 2.0 / 200},
      {"method: INITIALIZER_METHOD_HE gain: 2", false, 4 * 2.0 / 200},
      {"method: INITIALIZER_METHOD_LECUN gain: 2 uniform: true", true, 4 * 1.0 / 200},
      {"method: INITIALIZER_METHOD_LECUN gain: 2", false, 4 * 1.0 / 200},
      {"method: INITIALIZER_METHOD_PYTORCH gain: 2", true, 4 * 1.0 / (3 * 200)},
      {"method: INITIALIZER_METHOD_NORMAL gain: 2 scale: 0.5", false, 1},
      {"method: INITIALIZER_METHOD_UNIFORM gain: 2 scale: 0.5", true, 1 / 3.0},
      // He over the root of the branches for two layers in each, over the fourth root for three.
      {"method: INITIALIZER_METHOD_FIXUP branches: 16", false, 2.0 / 200 / 16},
      {"method: INITIALIZER_METHOD_FIXUP branches: 16 branch_layers: 3", false, 2.0 / 200 / 4},
      {"method: INITIALIZER_METHOD_FIXUP branches: 1 uniform: true", true, 2.0 / 200},
      // The gains of torch.nn.init.calculate_gain.
      {"method: INITIALIZER_METHOD_LECUN gain_for: ACTIVATION_FUNCTION_SIGMOID", false, 1.0 / 200},
      {"method: INITIALIZER_METHOD_LECUN gain_for: ACTIVATION_FUNCTION_TANH", false, 25.0 / 9 / 200},
      {"method: INITIALIZER_METHOD_LECUN gain_for: ACTIVATION_FUNCTION_RELU gain: 3", false, 9 * 2.0 / 200},
      {"method: INITIALIZER_METHOD_LECUN gain_for: ACTIVATION_FUNCTION_LEAKY_RELU", false, 2 / 1.0001 / 200},
      {"method: INITIALIZER_METHOD_LECUN gain_for: ACTIVATION_FUNCTION_SELU", false, 0.5625 / 200},
  };
  for (const MomentCase& c : cases) {
    SCOPED_TRACE(c.initializer);
    const v1::Initializer initializer = Parse(c.initializer);
    ASSERT_THAT(ValidateInitializer(initializer), IsOk());
    const std::vector<double> values = Draw(Segment({300, 200}, initializer));
    const Moments moments = MomentsOf(values);
    const double n = static_cast<double>(values.size()), kurtosis = c.uniform ? 1.8 : 3;
    // Five standard errors.
    EXPECT_NEAR(moments.mean, 0, 5 * std::sqrt(c.variance / n));
    EXPECT_NEAR(moments.variance, c.variance, 5 * c.variance * std::sqrt((kurtosis - 1) / n));
    EXPECT_NEAR(moments.fourth / (c.variance * c.variance), kurtosis, 0.2);
    if (c.uniform) {
      EXPECT_LE(moments.largest, std::sqrt(3 * c.variance));
    }
  }
}

TEST(InitializerTest, OrthogonalHasOrthonormalRowsOrColumns) {
  v1::Initializer initializer = Method(v1::INITIALIZER_METHOD_ORTHOGONAL);
  initializer.set_gain(3);
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{40, 40}, {50, 20}, {20, 50}, {1, 7}}) {
    const std::vector<double> w = Draw(Segment({rows, cols}, initializer));
    const int64_t vectors = std::min(rows, cols), length = std::max(rows, cols);
    const auto at = [&, rows = rows, cols = cols](int64_t v, int64_t i) {
      return rows < cols ? w[v * cols + i] : w[i * cols + v];
    };
    for (int64_t u = 0; u < vectors; ++u) {
      for (int64_t v = 0; v < vectors; ++v) {
        double dot = 0;
        for (int64_t i = 0; i < length; ++i) dot += at(u, i) * at(v, i);
        ASSERT_NEAR(dot, u == v ? 9 : 0, 1e-12) << rows << " x " << cols;
      }
    }
  }
}

// A = Q R with the drawn A, row by row of the tall one of the matrix and its transpose: Q has orthonormal columns, and
// Q^T A is upper triangular with a diagonal above 0. That is what defines Q.
TEST(InitializerTest, OrthogonalIsQOfTheDrawnMatrix) {
  const v1::Initializer initializer = Method(v1::INITIALIZER_METHOD_ORTHOGONAL);
  for (const auto& [rows, columns] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 9}, {64, 64}, {65, 65}, {150, 130}, {130, 201}, {300, 3}}) {
    SCOPED_TRACE(absl::StrCat(rows, " x ", columns));
    const int64_t tall = std::max(rows, columns), narrow = std::min(rows, columns);
    Random random(/*seed=*/1, RandomStream::kInitialization, 0);
    std::vector<double> a(static_cast<size_t>(tall * narrow));
    for (double& x : a) x = random.NextNormal();
    const std::vector<double> w = Draw(Segment({rows, columns}, initializer));
    const auto q = [&, rows = rows, columns = columns](int64_t i, int64_t j) {
      return rows >= columns ? w[i * columns + j] : w[j * columns + i];
    };
    for (int64_t u = 0; u < narrow; ++u) {
      for (int64_t v = 0; v < narrow; ++v) {
        double dot = 0, r = 0;
        for (int64_t i = 0; i < tall; ++i) {
          dot += q(i, u) * q(i, v);
          r += q(i, u) * a[i * narrow + v];
        }
        ASSERT_NEAR(dot, u == v ? 1 : 0, 1e-12);
        if (u > v) {
          ASSERT_NEAR(r, 0, 1e-11);
        } else if (u == v) {
          ASSERT_GT(r, 0);
        }
      }
    }
  }
}

// Nine times the tensor was taken once.
TEST(InitializerTest, TakesNoMoreMemoryThanItSays) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  const struct {
    const char* initializer;
    std::vector<int64_t> shape;
    double least, most;  // times the tensor of floats
  } cases[] = {
      {"method: INITIALIZER_METHOD_ORTHOGONAL", {1200, 1000}, 2, 2.5},
      {"method: INITIALIZER_METHOD_ORTHOGONAL", {500, 3000}, 2, 2.6},
      {"method: INITIALIZER_METHOD_ORTHOGONAL", {40'000, 30}, 2, 6.5},  // a block of columns is all of them
      {"method: INITIALIZER_METHOD_ORTHOGONAL", {1, 1}, 0, 0},
      {"method: INITIALIZER_METHOD_ORTHOGONAL", {200, 200}, 2, 10},
      {"method: INITIALIZER_METHOD_LOOKS_LINEAR", {2000, 1000}, 0.5, 0.8},
      {"method: INITIALIZER_METHOD_LOOKS_LINEAR mirror: MIRROR_OUTPUTS", {2000, 1000}, 1, 1.3},
      {"method: INITIALIZER_METHOD_SPARSE", {10, 100'000}, 0.1, 0.21},
      {"method: INITIALIZER_METHOD_HE", {1000, 1000}, 0, 0},
      {"method: INITIALIZER_METHOD_NORMAL scale: 1 spectral_radius: 1", {500, 500}, 5, 7},
      {"method: INITIALIZER_METHOD_ORTHOGONAL spectral_radius: 1", {500, 500}, 5, 7},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.initializer);
    const ParameterSegment segment = Segment(c.shape, Parse(c.initializer));
    const auto tensor = static_cast<double>(segment.size * static_cast<int64_t>(sizeof(float)));
    std::vector<float> values(segment.size);
    testing::RestartPeak();
    const int64_t before = testing::AllocatedBytes();
    InitializeTensor(segment, 1, 0, std::span<float>(values));
    const int64_t taken = testing::PeakAllocatedBytes() - before;
    EXPECT_GE(static_cast<double>(taken), c.least * tensor);
    EXPECT_LE(static_cast<double>(taken), c.most * tensor + (64 << 10));
    EXPECT_LE(taken, InitializationBytes(segment) + (64 << 10));
    EXPECT_LE(InitializationBytes(segment), taken + taken / 5 + (6 << 20));
    EXPECT_LE(static_cast<double>(InitializationBytes(segment)), 25 * tensor + 4096) << "little where it is small";
  }
}

// Without the signs of R the first entry of Q would never be positive.
TEST(InitializerTest, OrthogonalIsUniformOverSigns) {
  const ParameterSegment segment = Segment({4, 4}, Method(v1::INITIALIZER_METHOD_ORTHOGONAL));
  int positive = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) positive += Draw(segment, seed)[0] > 0;
  EXPECT_NEAR(positive, 200, 50);
}

// A relu of each of the mirrored pair adds up to a linear function, through all three layers.
TEST(InitializerTest, LooksLinearIsLinearThroughReluLayers) {
  const std::string method = "method: INITIALIZER_METHOD_LOOKS_LINEAR gain: 2 ";
  const std::vector<double> first = Draw(Segment({8, 4}, Parse(method + "mirror: MIRROR_OUTPUTS")), 1, 0);
  const std::vector<double> middle = Draw(Segment({8, 8}, Parse(method)), 1, 1);
  const std::vector<double> last = Draw(Segment({3, 8}, Parse(method + "mirror: MIRROR_INPUTS")), 1, 2);
  const auto apply = [](const std::vector<double>& w, std::vector<double> x, bool relu) {
    std::vector<double> y(w.size() / x.size());
    for (size_t i = 0; i < y.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
      if (relu) y[i] = std::max(y[i], 0.0);
    }
    return y;
  };
  const auto network = [&](const std::vector<double>& x) {
    return apply(last, apply(middle, apply(first, x, true), true), false);
  };
  const std::vector<double> x = {1, -2, 0.5, 3}, z = {-1, 0.3, 2, 5}, sum = {0, -1.7, 2.5, 8};
  const std::vector<double> of_x = network(x), of_z = network(z), of_sum = network(sum);
  for (size_t i = 0; i < of_sum.size(); ++i) EXPECT_NEAR(of_sum[i], of_x[i] + of_z[i], 1e-12);
  // Before the last layer nothing is lost: half of the mirrored units hold twice the doubled input.
  double squares = 0;
  for (const double y : apply(middle, apply(first, x, true), true)) squares += y * y;
  EXPECT_NEAR(squares, 16 * (1 + 4 + 0.25 + 9), 1e-12);
}

TEST(InitializerTest, SparseHasSoManyWeightsInEachRow) {
  const std::vector<double> w =
      Draw(Segment({2000, 40}, Parse("method: INITIALIZER_METHOD_SPARSE scale: 0.5 gain: 2")));
  std::vector<int> column_counts(40);
  std::vector<double> nonzero;
  for (int row = 0; row < 2000; ++row) {
    int count = 0;
    for (int column = 0; column < 40; ++column) {
      const double value = w[row * 40 + column];
      if (value == 0) continue;
      ++count;
      ++column_counts[column];
      nonzero.push_back(value);
    }
    ASSERT_EQ(count, 15);
  }
  // Any place is as likely as another, within five standard errors.
  const double p = 15.0 / 40;
  for (const int count : column_counts) EXPECT_NEAR(count, 2000 * p, 5 * std::sqrt(2000 * p * (1 - p)));
  const Moments moments = MomentsOf(nonzero);
  EXPECT_NEAR(moments.variance, 1, 5 * std::sqrt(2.0 / nonzero.size()));
  for (const int nonzeros : {1, 40}) {
    v1::Initializer initializer = Parse("method: INITIALIZER_METHOD_SPARSE");
    initializer.set_nonzeros(nonzeros);
    const std::vector<double> row = Draw(Segment({1, 40}, initializer));
    EXPECT_EQ(std::count(row.begin(), row.end(), 0.0), 40 - nonzeros);
  }
}

// |W^k|^(1/k) for k = 2^squarings, which tends to the spectral radius (Gelfand), whether the largest eigenvalues are
// real or a pair.
double GrowthByPowers(std::vector<double> w, int64_t n, int squarings) {
  double log_scale = 0, power = 1;
  for (int s = 0; s < squarings; ++s) {
    std::vector<double> square(w.size());
    double norm = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < n; ++k) {
        for (int64_t j = 0; j < n; ++j) square[i * n + j] += w[i * n + k] * w[k * n + j];
      }
    }
    for (const double x : square) norm += x * x;
    norm = std::sqrt(norm);
    for (double& x : square) x /= norm;
    w = std::move(square);
    log_scale = 2 * log_scale + std::log(norm);
    power *= 2;
  }
  return std::exp(log_scale / power);
}

TEST(InitializerTest, IsScaledToItsSpectralRadius) {
  const char* const cases[] = {
      "method: INITIALIZER_METHOD_SPARSE spectral_radius: 0.95",  // Pascanu's smart tanh
      "method: INITIALIZER_METHOD_SPARSE spectral_radius: 0.95 scale: 0.01 nonzeros: 3",
      "method: INITIALIZER_METHOD_NORMAL scale: 1 spectral_radius: 1.3",
      "method: INITIALIZER_METHOD_ORTHOGONAL gain: 7 spectral_radius: 0.5",
  };
  for (const char* const text : cases) {
    const v1::Initializer initializer = Parse(text);
    const ParameterSegment segment = Segment({50, 50}, initializer);
    ASSERT_THAT(CheckInitializerFits(segment), IsOk());
    // Gelfand: |W^k|^(1/k) is within a factor of some |V| |V^-1| to the 1/k; 2^32 takes that below 1e-6.
    EXPECT_NEAR(GrowthByPowers(Draw(segment), 50, 32) / initializer.spectral_radius(), 1, 1e-6) << text;
  }
  const std::vector<double> sparse = Draw(Segment({50, 50}, Parse(cases[0])));
  EXPECT_EQ(std::count(sparse.begin(), sparse.end(), 0.0), 50 * 35);
  const std::vector<double> nilpotent = Draw(Segment({1, 1}, Parse("method: INITIALIZER_METHOD_LECUN gain: 0 "
                                                                   "spectral_radius: 1")));
  EXPECT_THAT(nilpotent, ::testing::ElementsAre(0.0));
}

TEST(InitializerTest, PytorchTakesTheScaleThatTheLayerNames) {
  v1::Initializer given;
  given.set_method(v1::INITIALIZER_METHOD_PYTORCH);
  const v1::Initializer recurrent = ResolveInitializer(given, v1::INITIALIZER_METHOD_ORTHOGONAL, 0.125);
  EXPECT_EQ(recurrent.method(), v1::INITIALIZER_METHOD_UNIFORM);
  EXPECT_EQ(recurrent.scale(), 0.125);
  const v1::Initializer embedding = ResolveInitializer(given, v1::INITIALIZER_METHOD_NORMAL, 1);
  EXPECT_EQ(embedding.method(), v1::INITIALIZER_METHOD_NORMAL);
  EXPECT_EQ(embedding.scale(), 1);
  EXPECT_EQ(ResolveInitializer(given, v1::INITIALIZER_METHOD_XAVIER).method(), v1::INITIALIZER_METHOD_PYTORCH);
}

TEST(InitializerTest, IdentityConstantAndZero) {
  v1::Initializer initializer = Method(v1::INITIALIZER_METHOD_IDENTITY);
  initializer.set_gain(0.5);
  EXPECT_THAT(Draw(Segment({2, 3}, initializer)), ::testing::ElementsAre(0.5, 0, 0, 0, 0.5, 0));
  EXPECT_THAT(Draw(Segment({3, 2}, initializer)), ::testing::ElementsAre(0.5, 0, 0, 0.5, 0, 0));
  initializer.set_method(v1::INITIALIZER_METHOD_CONSTANT);
  EXPECT_THAT(Draw(Segment({3}, initializer)), ::testing::ElementsAre(0.5, 0.5, 0.5));
  EXPECT_THAT(Draw(Segment({3}, Method(v1::INITIALIZER_METHOD_CONSTANT))), ::testing::Each(1.0));
  EXPECT_THAT(Draw(Segment({3}, Method(v1::INITIALIZER_METHOD_ZERO))), ::testing::Each(0.0));
}

TEST(InitializerTest, DependsOnSeedAndPlaceAndNotOnTheType) {
  const char* const cases[] = {
      "method: INITIALIZER_METHOD_XAVIER",
      "method: INITIALIZER_METHOD_PYTORCH",
      "method: INITIALIZER_METHOD_ORTHOGONAL",
      "method: INITIALIZER_METHOD_LOOKS_LINEAR",
      "method: INITIALIZER_METHOD_SPARSE nonzeros: 3",
      "method: INITIALIZER_METHOD_SPARSE nonzeros: 3 spectral_radius: 0.9",
      "method: INITIALIZER_METHOD_FIXUP branches: 3",
  };
  for (const char* const text : cases) {
    SCOPED_TRACE(text);
    const ParameterSegment segment = Segment({8, 8}, Parse(text));
    const std::vector<double> values = Draw(segment, 1, 0);
    EXPECT_EQ(values, Draw(segment, 1, 0));
    EXPECT_NE(values, Draw(segment, 2, 0));
    EXPECT_NE(values, Draw(segment, 1, 1));
    std::vector<float> floats(segment.size);
    InitializeTensor(segment, 1, 0, std::span<float>(floats));
    for (size_t i = 0; i < floats.size(); ++i) EXPECT_EQ(floats[i], static_cast<float>(values[i]));
  }
}

TEST(InitializerTest, FillsDefaultsIn) {
  v1::Initializer given;
  given.set_gain(2);
  const v1::Initializer xavier = ResolveInitializer(given, v1::INITIALIZER_METHOD_XAVIER);
  EXPECT_EQ(xavier.method(), v1::INITIALIZER_METHOD_XAVIER);
  EXPECT_EQ(xavier.gain(), 2);
  EXPECT_TRUE(xavier.uniform());
  EXPECT_EQ(Method(v1::INITIALIZER_METHOD_HE).gain(), 1);
  EXPECT_FALSE(Method(v1::INITIALIZER_METHOD_HE).uniform());
  EXPECT_EQ(ResolveInitializer({}, v1::INITIALIZER_METHOD_NORMAL, 0.25).scale(), 0.25);
  given.set_method(v1::INITIALIZER_METHOD_UNIFORM);
  EXPECT_FALSE(ResolveInitializer(given, v1::INITIALIZER_METHOD_NORMAL, 0.25).has_scale());
}

TEST(InitializerTest, RefusesWhatMakesNoSense) {
  const struct {
    const char* initializer;
    const char* message;
  } cases[] = {
      {"method: INITIALIZER_METHOD_NORMAL", "scale: is required by NORMAL, UNIFORM"},
      {"method: INITIALIZER_METHOD_UNIFORM scale: 0", "scale: must be above 0; got 0"},
      {"scale: 1", "scale: is only for NORMAL, UNIFORM, SPARSE"},
      {"method: INITIALIZER_METHOD_PYTORCH scale: 1", "scale: is only for NORMAL, UNIFORM, SPARSE"},
      {"gain: -1", "gain: must be at least 0; got -1"},
      {"gain: nan", "gain: must be at least 0; got nan"},
      {"gain_for: ACTIVATION_FUNCTION_GELU",
       "gain_for: must be SIGMOID, TANH, RELU, LEAKY_RELU or SELU; got "
       "ACTIVATION_FUNCTION_GELU"},
      {"gain_for: 77", "got 77"},
      {"nonzeros: 3", "nonzeros: is only for SPARSE"},
      {"method: INITIALIZER_METHOD_SPARSE nonzeros: 0", "nonzeros: must be at least 1"},
      {"method: INITIALIZER_METHOD_ZERO uniform: true", "uniform: is only for XAVIER, HE, LECUN, FIXUP"},
      {"method: INITIALIZER_METHOD_ZERO spectral_radius: 1", "spectral_radius: is only for"},
      {"spectral_radius: 0", "spectral_radius: must be above 0; got 0"},
      {"method: INITIALIZER_METHOD_FIXUP", "branches: is required by FIXUP"},
      {"method: INITIALIZER_METHOD_FIXUP branches: 0", "branches: must be at least 1"},
      {"method: INITIALIZER_METHOD_FIXUP branches: 1 branch_layers: 1", "branch_layers: must be at least 2"},
      {"branches: 5", "branches: is only for FIXUP"},
      {"mirror: MIRROR_INPUTS", "mirror: is only for LOOKS_LINEAR"},
      {"method: INITIALIZER_METHOD_LOOKS_LINEAR mirror: 9", "mirror: must be at least 1 and at most 3; got 9"},
      {"method: 99", "method: is not a method; got 99"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(ValidateInitializer(Parse(c.initializer)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.initializer;
  }
}

TEST(InitializerTest, RefusesWhatDoesNotFitTheTensor) {
  const struct {
    std::vector<int64_t> shape;
    const char* initializer;
    const char* message;
  } cases[] = {
      {{5, 14}, "method: INITIALIZER_METHOD_SPARSE", "nonzeros: must be at most the 14 inputs of a unit; got 15"},
      {{5, 6}, "spectral_radius: 1", "spectral_radius: needs a square matrix of at most 1024 rows, but it is 5 x 6"},
      {{1025, 1025}, "spectral_radius: 1", "but it is 1025 x 1025"},
      {{5, 6}, "method: INITIALIZER_METHOD_LOOKS_LINEAR", "mirror: needs an even number"},
      {{6, 5}, "method: INITIALIZER_METHOD_LOOKS_LINEAR mirror: MIRROR_INPUTS", "6 x 5 (outputs x inputs)"},
      {{5, 6}, "method: INITIALIZER_METHOD_LOOKS_LINEAR mirror: MIRROR_INPUTS", ""},
      {{6, 5}, "method: INITIALIZER_METHOD_LOOKS_LINEAR mirror: MIRROR_OUTPUTS", ""},
      {{5, 15}, "method: INITIALIZER_METHOD_SPARSE", ""},
  };
  for (const auto& c : cases) {
    const absl::Status status = CheckInitializerFits(Segment(c.shape, Parse(c.initializer)));
    if (*c.message == '\0') {
      EXPECT_THAT(status, IsOk()) << c.initializer;
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message))) << c.initializer;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
