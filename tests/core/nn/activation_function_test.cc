#include "core/nn/activation_function.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace gradwatch::core {
namespace {

constexpr v1::ActivationFunction kServed[] = {v1::ACTIVATION_FUNCTION_SIGMOID, v1::ACTIVATION_FUNCTION_TANH,
                                              v1::ACTIVATION_FUNCTION_RELU};

double Exact(v1::ActivationFunction function, double x) {
  switch (function) {
    case v1::ACTIVATION_FUNCTION_SIGMOID:
      return 1 / (1 + std::exp(-x));
    case v1::ACTIVATION_FUNCTION_TANH:
      return std::tanh(x);
    default:
      return x > 0 ? x : 0;
  }
}

template <typename T>
class ActivationFunctionTest : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ActivationFunctionTest, Types);

TYPED_TEST(ActivationFunctionTest, IsAccurateEverywhere) {
  std::vector<TypeParam> x;
  for (double v = -60; v <= 60; v += 0.01) x.push_back(static_cast<TypeParam>(v));
  for (const double v : {0.0, 1e-30, -1e-30, 1e-6, 1e30, -1e30}) x.push_back(static_cast<TypeParam>(v));
  for (const v1::ActivationFunction function : kServed) {
    std::vector<TypeParam> y(x.size());
    ApplyActivation(function, static_cast<int64_t>(x.size()), x.data(), y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = Exact(function, x[i]), tolerance = 8 * std::numeric_limits<TypeParam>::epsilon();
      ASSERT_NEAR(y[i], exact, tolerance * std::abs(exact) + std::numeric_limits<TypeParam>::min())
          << v1::ActivationFunction_Name(function) << " " << x[i];
    }
  }
}

// At every position of a vector register and in the rest behind it, with infinities beside it.
TYPED_TEST(ActivationFunctionTest, NanStaysNanAndInfinitiesReachTheirLimits) {
  constexpr TypeParam kInfinity = std::numeric_limits<TypeParam>::infinity();
  for (const v1::ActivationFunction function : kServed) {
    for (size_t position = 0; position < 37; ++position) {
      std::vector<TypeParam> x(37, 1), y(37), dx(37);
      x[position] = std::numeric_limits<TypeParam>::quiet_NaN();
      x[(position + 1) % 37] = kInfinity;
      x[(position + 2) % 37] = -kInfinity;
      ApplyActivation(function, 37, x.data(), y.data());
      ASSERT_TRUE(std::isnan(y[position])) << v1::ActivationFunction_Name(function) << " " << position;
      ASSERT_EQ(y[(position + 1) % 37], Exact(function, kInfinity));
      ASSERT_NEAR(y[(position + 2) % 37], Exact(function, -kInfinity), 1e-7);
      ASSERT_FALSE(std::isnan(y[(position + 3) % 37]));
      ActivationBackward(function, 37, y.data(), std::vector<TypeParam>(37, 1).data(), dx.data());
      // A relu passes the gradient of a NaN on, as PyTorch's does; the others multiply by NaN.
      if (function == v1::ACTIVATION_FUNCTION_RELU) {
        ASSERT_EQ(dx[position], 1);
      } else {
        ASSERT_TRUE(std::isnan(dx[position]));
      }
      ASSERT_FALSE(std::isnan(dx[(position + 1) % 37]));
    }
  }
}

// The derivative of sigmoid is at most 1/4 and that of tanh and relu at most 1, so that only weights make gradients
// grow.
TYPED_TEST(ActivationFunctionTest, DerivativesKeepTheirBounds) {
  const std::vector<TypeParam> x = {-20, -3, -1, 0, TypeParam(0.1), 2, 30}, dy(x.size(), 1);
  for (const v1::ActivationFunction function : kServed) {
    std::vector<TypeParam> y(x.size()), dx(x.size());
    ApplyActivation(function, static_cast<int64_t>(x.size()), x.data(), y.data());
    ActivationBackward(function, static_cast<int64_t>(x.size()), y.data(), dy.data(), dx.data());
    for (const TypeParam d : dx) {
      EXPECT_GE(d, 0);
      EXPECT_LE(d, function == v1::ACTIVATION_FUNCTION_SIGMOID ? 0.25 : 1);
    }
    if (function != v1::ACTIVATION_FUNCTION_RELU) {
      EXPECT_EQ(dx[3], function == v1::ACTIVATION_FUNCTION_TANH ? 1 : 0.25);
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
