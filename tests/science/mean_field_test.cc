// Growth of the backward signal in wide networks: ||delta||^2 grows by chi = sigma_w^2 E[phi'(sqrt(q) z)^2] per layer
// (Poole et al. 2016; Schoenholz et al. 2017).
#include "tests/science/mean_field.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/deep_network.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

constexpr v1::ActivationFunction kTanh = v1::ACTIVATION_FUNCTION_TANH;

double SettledChi(v1::ActivationFunction function, double weight_variance, double bias_variance) {
  return Chi(function, weight_variance, SettledVariance(function, weight_variance, bias_variance));
}

TEST(SlowMeanField, ChiOfTanhIsWhatThePapersTabulate) {
  const double expected[][2] = {{0.5, 0.43199}, {1, 0.75903}, {1.3, 0.88016}, {1.5, 0.93864}, {2, 1.04767},
                                {2.5, 1.13352}, {3, 1.20893}, {4, 1.34240},   {6.25, 1.59475}};
  for (const auto& [weight_variance, chi] : expected) {
    ExpectNear("mean field, tanh", absl::StrCat("chi at sigma_w^2 = ", weight_variance, ", sigma_b^2 = 0.05"), chi,
               SettledChi(kTanh, weight_variance, 0.05), 1e-5);
  }
}

// Where gradients neither grow nor vanish: the table's sigma_w^2 gives its q and chi = 1.
TEST(SlowMeanField, CriticalLineOfTanh) {
  const double line[][3] = {{0.001, 1.18919, 0.10729}, {0.01, 1.42421, 0.27330}, {0.05, 1.76096, 0.57005},
                            {0.1, 1.98607, 0.80580},   {0.3, 2.50513, 1.46117},  {0.5, 2.84317, 1.97103}};
  for (const auto& [bias_variance, weight_variance, q] : line) {
    const double settled = SettledVariance(kTanh, weight_variance, bias_variance);
    ExpectNear("mean field, tanh", absl::StrCat("q on the critical line, sigma_b^2 = ", bias_variance), q, settled,
               2e-5);
    ExpectNear("mean field, tanh", absl::StrCat("chi there, sigma_w^2 = ", weight_variance), 1,
               Chi(kTanh, weight_variance, settled), 1e-5);
  }
}

struct FunctionCase {
  const char* name;
  v1::ActivationFunction function;
  double weight_variance, chi, bound;
};

// Functions that settle whatever comes in, without biases. Bounds: the last digit of the table.
TEST(SlowMeanField, ChiOfOtherFunctions) {
  const FunctionCase cases[] = {
      {"sigmoid, sigma_w^2 = 1", v1::ACTIVATION_FUNCTION_SIGMOID, 1, 0.056, 6e-4},
      {"sigmoid, sigma_w^2 = 4", v1::ACTIVATION_FUNCTION_SIGMOID, 4, 0.172, 6e-4},
      {"sigmoid, sigma_w^2 = 16", v1::ACTIVATION_FUNCTION_SIGMOID, 16, 0.399, 6e-4},
      {"sigmoid, sigma_w^2 = 50", v1::ACTIVATION_FUNCTION_SIGMOID, 50, 0.705, 6e-4},
      {"tanh, gain 5/3", kTanh, 25.0 / 9, 1.20983, 1e-5},
      {"tanh, sigma_w^2 = 1/3 (PyTorch)", kTanh, 1.0 / 3, 1.0 / 3, 1e-5},
  };
  for (const FunctionCase& c : cases) {
    ExpectNear("mean field", absl::StrCat("chi, ", c.name), c.chi, SettledChi(c.function, c.weight_variance, 0),
               c.bound);
  }
}

// Functions at the weights that keep a variance of 1: sigma_w^2 E[phi^2] = 1. GELU, SiLU and SELU grow by 7 %.
TEST(SlowMeanField, ChiWhereTheVarianceIsKept) {
  // lambda^2 (1/2 + alpha^2 e^2 Phi(-2)).
  const double lambda = 1.0507009873554805, alpha = 1.6732632423543772;
  const double selu = lambda * lambda * (0.5 + alpha * alpha * std::exp(2) * std::erfc(std::sqrt(2.0)) / 2);
  const FunctionCase cases[] = {{"GELU", v1::ACTIVATION_FUNCTION_GELU, 2.3517, 1.0720, 1e-4},
                                {"SiLU", v1::ACTIVATION_FUNCTION_SILU, 2.8107, 1.0666, 1e-4},
                                {"SELU", v1::ACTIVATION_FUNCTION_SELU, 1, selu, 1e-6},
                                {"ReLU", v1::ACTIVATION_FUNCTION_RELU, 2, 1, 1e-6}};
  for (const FunctionCase& c : cases) {
    const FunctionMoments moments = MomentsOfFunction(c.function, 1);
    ExpectNear("mean field", absl::StrCat("variance kept, ", c.name, ", sigma_w^2 = ", c.weight_variance), 1,
               c.weight_variance * moments.square, 1e-4);
    ExpectNear("mean field", absl::StrCat("chi there, ", c.name), c.chi, Chi(c.function, c.weight_variance, 1),
               c.bound);
  }
}

// The slope of ln ||delta||^2 from the end to the beginning, the mean of some networks of width 300.
double MeasuredSlope(v1::ActivationFunction function, double weight_variance, double bias_variance) {
  constexpr int kNetworks = 6;
  DeepNetwork deep(300, 300, 40,
                   absl::StrCat("layers { name: 'hidden' dense { units: 300 } } layers { activation { function: ",
                                v1::ActivationFunction_Name(function), " } } "));
  double sum = 0;
  for (int i = 0; i < kNetworks; ++i) {
    deep.Draw(100 + i, weight_variance, bias_variance);
    std::vector<double> logs = deep.SquaredDeltas(i);
    for (double& value : logs) value = std::log(value);
    std::reverse(logs.begin(), logs.end());
    sum += Slope(logs);
  }
  return sum / kNetworks;
}

// Bound: what six networks of this width leave to chance.
constexpr double kSlopeBound = 0.03;

TEST(SlowMeanField, GradientsOfTanhNetworksGrowByChi) {
  for (const double weight_variance : {1.0, 1.3, 2.5, 4.0}) {
    ExpectNear("mean field, tanh", absl::StrCat("slope of ln ||delta||^2, sigma_w^2 = ", weight_variance),
               std::log(SettledChi(kTanh, weight_variance, 0.05)), MeasuredSlope(kTanh, weight_variance, 0.05),
               kSlopeBound);
  }
}

// PyTorch's recommended gain 5/3 for tanh lets gradients grow; SELU's fixed point does; sigmoid's gradients vanish even
// at four times the usual weights; ReLU grows by sigma_w^2 / 2.
TEST(SlowMeanField, GradientsOfOtherNetworksGrowByChi) {
  ExpectNear("mean field", "slope of ln ||delta||^2, tanh, gain 5/3", std::log(1.20983),
             MeasuredSlope(kTanh, 25.0 / 9, 0), kSlopeBound);
  ExpectNear("mean field", "slope of ln ||delta||^2, SELU", std::log(1.0716),
             MeasuredSlope(v1::ACTIVATION_FUNCTION_SELU, 1, 0), kSlopeBound);
  ExpectNear("mean field", "slope of ln ||delta||^2, sigmoid, 16", std::log(0.399),
             MeasuredSlope(v1::ACTIVATION_FUNCTION_SIGMOID, 16, 0), kSlopeBound);
  ExpectNear("mean field", "slope of ln ||delta||^2, ReLU, 2.5", std::log(1.25),
             MeasuredSlope(v1::ACTIVATION_FUNCTION_RELU, 2.5, 0), kSlopeBound);
}

}  // namespace
}  // namespace gradwatch::science
