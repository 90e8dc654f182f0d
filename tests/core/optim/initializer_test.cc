#include "core/optim/initializer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

v1::Initializer Method(v1::InitializerMethod method) { return ResolveInitializer({}, method); }

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
  v1::InitializerMethod method;
  bool uniform;
  double variance;  // for shape [300, 200], gain 2, scale 0.5
};

TEST(InitializerTest, HasTheMomentsOfItsDefinition) {
  const MomentCase cases[] = {
      {v1::INITIALIZER_METHOD_XAVIER, true, 4 * 2.0 / 500},
      {v1::INITIALIZER_METHOD_XAVIER, false, 4 * 2.0 / 500},
      {v1::INITIALIZER_METHOD_HE, true, 4 * 2.0 / 200},
      {v1::INITIALIZER_METHOD_HE, false, 4 * 2.0 / 200},
      {v1::INITIALIZER_METHOD_LECUN, true, 4 * 1.0 / 200},
      {v1::INITIALIZER_METHOD_LECUN, false, 4 * 1.0 / 200},
      {v1::INITIALIZER_METHOD_NORMAL, false, 1},
      {v1::INITIALIZER_METHOD_UNIFORM, true, 1 / 3.0},
  };
  for (const MomentCase& c : cases) {
    v1::Initializer initializer = Method(c.method);
    initializer.set_gain(2);
    const bool has_scale = c.method == v1::INITIALIZER_METHOD_NORMAL || c.method == v1::INITIALIZER_METHOD_UNIFORM;
    has_scale ? initializer.set_scale(0.5) : initializer.set_uniform(c.uniform);
    ASSERT_THAT(ValidateInitializer(initializer), IsOk());
    const std::vector<double> values = Draw(Segment({300, 200}, initializer));
    const Moments moments = MomentsOf(values);
    const double n = static_cast<double>(values.size()), kurtosis = c.uniform ? 1.8 : 3;
    SCOPED_TRACE(v1::InitializerMethod_Name(c.method) + (c.uniform ? " uniform" : " normal"));
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
    const auto at = [&](int64_t v, int64_t i) { return rows < cols ? w[v * cols + i] : w[i * cols + v]; };
    for (int64_t u = 0; u < vectors; ++u) {
      for (int64_t v = 0; v < vectors; ++v) {
        double dot = 0;
        for (int64_t i = 0; i < length; ++i) dot += at(u, i) * at(v, i);
        ASSERT_NEAR(dot, u == v ? 9 : 0, 1e-12) << rows << " x " << cols;
      }
    }
  }
}

// Without the signs of R the first entry of Q would never be positive.
TEST(InitializerTest, OrthogonalIsUniformOverSigns) {
  const ParameterSegment segment = Segment({4, 4}, Method(v1::INITIALIZER_METHOD_ORTHOGONAL));
  int positive = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) positive += Draw(segment, seed)[0] > 0;
  EXPECT_NEAR(positive, 200, 50);
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
  const ParameterSegment segment = Segment({8, 5}, Method(v1::INITIALIZER_METHOD_XAVIER));
  const std::vector<double> values = Draw(segment, 1, 0);
  EXPECT_EQ(values, Draw(segment, 1, 0));
  EXPECT_NE(values, Draw(segment, 2, 0));
  EXPECT_NE(values, Draw(segment, 1, 1));
  std::vector<float> floats(segment.size);
  InitializeTensor(segment, 1, 0, std::span<float>(floats));
  for (size_t i = 0; i < floats.size(); ++i) EXPECT_EQ(floats[i], static_cast<float>(values[i]));
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
  struct Case {
    void (*change)(v1::Initializer*);
    const char* message;
  };
  const Case cases[] = {
      {[](v1::Initializer* i) { i->set_method(v1::INITIALIZER_METHOD_NORMAL); }, "scale: is required"},
      {[](v1::Initializer* i) { i->set_scale(1); }, "scale: is only for NORMAL and UNIFORM"},
      {[](v1::Initializer* i) { i->set_gain(-1); }, "gain: must be finite and not negative; got -1"},
      {[](v1::Initializer* i) { i->set_gain(std::numeric_limits<double>::quiet_NaN()); }, "gain: must be finite"},
      {[](v1::Initializer* i) { i->set_nonzeros(3); }, "nonzeros: is only for SPARSE"},
      {[](v1::Initializer* i) { i->set_method(v1::INITIALIZER_METHOD_SPARSE); }, "method: not served yet"},
      {[](v1::Initializer* i) { i->set_method(static_cast<v1::InitializerMethod>(99)); }, "method: is not a method"},
      {[](v1::Initializer* i) {
         i->set_method(v1::INITIALIZER_METHOD_UNIFORM);
         i->set_scale(0);
       },
       "scale: must be finite and above 0; got 0"},
      {[](v1::Initializer* i) {
         i->set_method(v1::INITIALIZER_METHOD_ZERO);
         i->set_uniform(true);
       },
       "uniform: is only for XAVIER, HE and LECUN"},
  };
  for (const Case& c : cases) {
    v1::Initializer given;
    c.change(&given);
    EXPECT_THAT(ValidateInitializer(ResolveInitializer(given, v1::INITIALIZER_METHOD_HE)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

}  // namespace
}  // namespace gradwatch::core
