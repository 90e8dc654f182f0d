#include "core/nn/activation_function.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

namespace gradwatch::core {
namespace {

using Real = long double;

constexpr Real kSeluScale = 1.0507009873554804934193L, kSeluAlpha = 1.6732632423543772848170L;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Real Logistic(Real x) { return 1 / (1 + std::exp(-x)); }
Real Phi(Real x) { return std::erfc(-x / std::numbers::sqrt2_v<Real>) / 2; }
Real Density(Real x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<Real>); }
Real GeluLogit(Real x) { return std::sqrt(8 / std::numbers::pi_v<Real>) * (x + 0.044715L * x * x * x); }
Real GeluLogitSlope(Real x) { return std::sqrt(8 / std::numbers::pi_v<Real>) * (1 + 3 * 0.044715L * x * x); }
Real MishGate(Real x) { return std::tanh(std::log1p(std::exp(x))); }

// A function as textbooks have it, in long double.
struct Function {
  ActivationSettings settings;
  std::function<Real(Real)> value, slope;
  double at_minus_infinity, at_infinity;  // values
  double slope_below, slope_above;        // at the infinities
  bool passes_nan = false;                // two pieces, so that the slope of a NaN is a number, as in PyTorch
};

std::string Name(const Function& f) { return v1::ActivationFunction_Name(f.settings.function); }

std::vector<Function> Functions() {
  return {
      {v1::ACTIVATION_FUNCTION_SIGMOID, Logistic, [](Real x) { return Logistic(x) * Logistic(-x); }, 0, 1, 0, 0},
      {v1::ACTIVATION_FUNCTION_TANH, [](Real x) { return std::tanh(x); },
       [](Real x) { return 1 - std::tanh(x) * std::tanh(x); }, -1, 1, 0, 0},
      {v1::ACTIVATION_FUNCTION_RELU, [](Real x) { return x > 0 ? x : 0; }, [](Real x) { return x > 0 ? 1 : 0; }, 0,
       kInfinity, 0, 1, true},
      {{v1::ACTIVATION_FUNCTION_LEAKY_RELU, 0.25},
       [](Real x) { return x > 0 ? x : 0.25L * x; },
       [](Real x) { return x > 0 ? 1 : 0.25L; },
       -kInfinity,
       kInfinity,
       0.25,
       1,
       true},
      {{v1::ACTIVATION_FUNCTION_LEAKY_RELU, -0.5},
       [](Real x) { return x > 0 ? x : -0.5L * x; },
       [](Real x) { return x > 0 ? 1 : -0.5L; },
       kInfinity,
       kInfinity,
       -0.5,
       1,
       true},
      {{v1::ACTIVATION_FUNCTION_ELU, 1.5},
       [](Real x) { return x > 0 ? x : 1.5L * std::expm1(x); },
       [](Real x) { return x > 0 ? 1 : 1.5L * std::exp(x); },
       -1.5,
       kInfinity,
       0,
       1,
       true},
      {v1::ACTIVATION_FUNCTION_SELU, [](Real x) { return kSeluScale * (x > 0 ? x : kSeluAlpha * std::expm1(x)); },
       [](Real x) { return kSeluScale * (x > 0 ? 1 : kSeluAlpha * std::exp(x)); },
       static_cast<double>(-kSeluScale * kSeluAlpha), kInfinity, 0, static_cast<double>(kSeluScale), true},
      {v1::ACTIVATION_FUNCTION_GELU, [](Real x) { return x * Phi(x); }, [](Real x) { return Phi(x) + x * Density(x); },
       0, kInfinity, 0, 1},
      {v1::ACTIVATION_FUNCTION_GELU_TANH, [](Real x) { return x * Logistic(GeluLogit(x)); },
       [](Real x) {
         const Real u = GeluLogit(x);
         return Logistic(u) + x * Logistic(u) * Logistic(-u) * GeluLogitSlope(x);
       },
       0, kInfinity, 0, 1},
      {v1::ACTIVATION_FUNCTION_SILU, [](Real x) { return x * Logistic(x); },
       [](Real x) { return Logistic(x) + x * Logistic(x) * Logistic(-x); }, 0, kInfinity, 0, 1},
      {v1::ACTIVATION_FUNCTION_SOFTPLUS, [](Real x) { return std::log1p(std::exp(x)); }, Logistic, 0, kInfinity, 0, 1},
      {v1::ACTIVATION_FUNCTION_SOFTSIGN, [](Real x) { return x / (1 + std::abs(x)); },
       [](Real x) { return 1 / ((1 + std::abs(x)) * (1 + std::abs(x))); }, -1, 1, 0, 0},
      {v1::ACTIVATION_FUNCTION_MISH, [](Real x) { return x * MishGate(x); },
       [](Real x) { return MishGate(x) + x * (1 - MishGate(x) * MishGate(x)) * Logistic(x); }, 0, kInfinity, 0, 1},
  };
}

template <typename T>
std::vector<T> Values(const Function& f, const std::vector<T>& x) {
  std::vector<T> y(x.size());
  ApplyActivation(f.settings, static_cast<int64_t>(x.size()), x.data(), y.data());
  return y;
}

template <typename T>
std::vector<T> Slopes(const Function& f, const std::vector<T>& x) {
  const std::vector<T> y = Values(f, x), dy(x.size(), 1);
  std::vector<T> dx(x.size());
  ActivationBackward(f.settings, static_cast<int64_t>(x.size()), ActivationReadsInput(f.settings) ? x.data() : y.data(),
                     dy.data(), dx.data());
  return dx;
}

double Slope(const Function& f, double x) { return Slopes<double>(f, {x})[0]; }

template <typename T>
std::vector<T> WideRange() {
  std::vector<T> x;
  for (double v = -60; v <= 60; v += 0.01) x.push_back(static_cast<T>(v));
  for (const double v : {0.0, 1e-30, 1e-6, 1e-3, 100.0, 1e4, 1e15, 1e30}) {
    x.push_back(static_cast<T>(v));
    x.push_back(static_cast<T>(-v));
  }
  return x;
}

template <typename T>
class ActivationFunctionTest : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ActivationFunctionTest, Types);

// Values to a relative error of (8 + 4 x^2) epsilon: the exponents of the tails are rounded too, so that these lose
// digits; but no digits are lost where a tail is taken from 1. Below exp(-87) float is zero.
TYPED_TEST(ActivationFunctionTest, ValuesAreAccurateEverywhere) {
  constexpr double kEpsilon = std::numeric_limits<TypeParam>::epsilon();
  const std::vector<TypeParam> x = WideRange<TypeParam>();
  for (const Function& f : Functions()) {
    const std::vector<TypeParam> y = Values(f, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const Real exact = f.value(x[i]);
      const Real tolerance = (8 + 4 * std::pow(std::min<Real>(std::abs(x[i]), 60), 2)) * kEpsilon * std::abs(exact);
      ASSERT_NEAR(y[i], exact, tolerance + 200 * std::numeric_limits<TypeParam>::min()) << Name(f) << " " << x[i];
    }
  }
}

// Slopes to an absolute error of 8 epsilon: those from the output cannot be better where it is near a limit.
TYPED_TEST(ActivationFunctionTest, SlopesAreAccurateEverywhere) {
  const std::vector<TypeParam> x = WideRange<TypeParam>();
  for (const Function& f : Functions()) {
    const std::vector<TypeParam> slopes = Slopes(f, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const Real exact = std::abs(x[i]) > 1e4 ? (x[i] < 0 ? f.slope_below : f.slope_above) : f.slope(x[i]);
      ASSERT_NEAR(slopes[i], exact, 8 * std::numeric_limits<TypeParam>::epsilon()) << Name(f) << " " << x[i];
    }
  }
}

// At every position of a vector register and in the rest behind it, with infinities beside it.
TYPED_TEST(ActivationFunctionTest, NanStaysNanAndInfinitiesReachTheirLimits) {
  constexpr TypeParam kEnd = std::numeric_limits<TypeParam>::infinity();
  for (const Function& f : Functions()) {
    SCOPED_TRACE(Name(f));
    for (size_t position = 0; position < 37; ++position) {
      const size_t above = (position + 1) % 37, below = (position + 2) % 37, beside = (position + 3) % 37;
      std::vector<TypeParam> x(37, 1);
      x[position] = std::numeric_limits<TypeParam>::quiet_NaN();
      x[above] = kEnd;
      x[below] = -kEnd;
      const std::vector<TypeParam> y = Values(f, x), dx = Slopes(f, x);
      ASSERT_TRUE(std::isnan(y[position])) << position;
      ASSERT_EQ(y[above], static_cast<TypeParam>(f.at_infinity));
      ASSERT_FLOAT_EQ(static_cast<float>(y[below]), static_cast<float>(f.at_minus_infinity));
      ASSERT_EQ(y[beside], Values<TypeParam>(f, {1})[0]);
      ASSERT_EQ(std::isnan(dx[position]), !f.passes_nan) << position;
      ASSERT_EQ(dx[above], static_cast<TypeParam>(f.slope_above));
      ASSERT_NEAR(dx[below], f.slope_below, 1e-6);
    }
  }
}

TYPED_TEST(ActivationFunctionTest, GivesTheSameInPlace) {
  const std::vector<TypeParam> x = WideRange<TypeParam>();
  const auto size = static_cast<int64_t>(x.size());
  for (const Function& f : Functions()) {
    std::vector<TypeParam> y = x;
    ApplyActivation(f.settings, size, y.data(), y.data());
    EXPECT_EQ(y, Values(f, x)) << Name(f);
    std::vector<TypeParam> dx(x.size(), 1);
    ActivationBackward(f.settings, size, ActivationReadsInput(f.settings) ? x.data() : y.data(), dx.data(), dx.data());
    EXPECT_EQ(dx, Slopes(f, x)) << Name(f);
  }
}

// Where `score` is largest in [low, high], by golden section.
double Argmax(const std::function<double(double)>& score, double low, double high) {
  const double ratio = std::numbers::phi - 1;
  while (high - low > 1e-9) {
    const double left = high - ratio * (high - low), right = low + ratio * (high - low);
    (score(left) < score(right) ? low : high) = score(left) < score(right) ? left : right;
  }
  return (low + high) / 2;
}

// The bounds that core/nn/activation.h states.
TEST(ActivationDerivativeTest, HasTheStatedExtrema) {
  struct Extremum {
    v1::ActivationFunction function;
    double sign, at, value;  // sign -1: a minimum
  };
  for (const Extremum& e : {Extremum{v1::ACTIVATION_FUNCTION_SIGMOID, 1, 0, 0.25},
                            {v1::ACTIVATION_FUNCTION_TANH, 1, 0, 1},
                            {v1::ACTIVATION_FUNCTION_SOFTSIGN, 1, 0, 1},
                            {v1::ACTIVATION_FUNCTION_GELU, 1, std::numbers::sqrt2, 1.128904145185},
                            {v1::ACTIVATION_FUNCTION_GELU, -1, -std::numbers::sqrt2, -.128904145185},
                            {v1::ACTIVATION_FUNCTION_GELU_TANH, 1, 1.418504, 1.128993068659},
                            {v1::ACTIVATION_FUNCTION_GELU_TANH, -1, -1.418504, -.128993068659},
                            {v1::ACTIVATION_FUNCTION_SILU, 1, 2.3993573, 1.099839320129},
                            {v1::ACTIVATION_FUNCTION_SILU, -1, -2.3993573, -.099839320129},
                            {v1::ACTIVATION_FUNCTION_MISH, 1, 1.4905716, 1.088498161252},
                            {v1::ACTIVATION_FUNCTION_MISH, -1, -2.2563764, -.112526122389}}) {
    const Function f = {e.function, nullptr, nullptr, 0, 0, 0, 0};
    const double at = Argmax([&](double x) { return e.sign * Slope(f, x); }, e.at - 1, e.at + 1);
    EXPECT_NEAR(at, e.at, 1e-6) << Name(f);
    EXPECT_NEAR(Slope(f, at), e.value, 1e-9) << Name(f);
  }
}

TEST(ActivationDerivativeTest, ReachesTheStatedBoundsAtTheEnds) {
  const auto slope = [](const ActivationSettings& settings, double x) {
    return Slope({settings, nullptr, nullptr, 0, 0, 0, 0}, x);
  };
  EXPECT_NEAR(slope(v1::ACTIVATION_FUNCTION_SELU, -1e-12), 1.7580993408, 1e-9);
  EXPECT_NEAR(slope(v1::ACTIVATION_FUNCTION_SELU, 3), 1.0507009874, 1e-9);
  EXPECT_NEAR(slope({v1::ACTIVATION_FUNCTION_ELU, 2.5}, -1e-12), 2.5, 1e-9);
  EXPECT_EQ(slope(v1::ACTIVATION_FUNCTION_SOFTPLUS, 50), 1);
}

// x p(x) with p(x) + p(-x) = 1.
TEST(ActivationDerivativeTest, GatesAreSymmetric) {
  for (const Function& f : Functions()) {
    if (f.settings.function != v1::ACTIVATION_FUNCTION_GELU && f.settings.function != v1::ACTIVATION_FUNCTION_SILU &&
        f.settings.function != v1::ACTIVATION_FUNCTION_GELU_TANH) {
      continue;
    }
    for (double x = 0; x < 20; x += 0.01) {
      ASSERT_NEAR(Slope(f, x) + Slope(f, -x), 1, 1e-15) << Name(f) << " " << x;
      ASSERT_NEAR(Values<double>(f, {x})[0] - Values<double>(f, {-x})[0], x, 4e-15);
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
