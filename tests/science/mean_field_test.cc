// Growth of the backward signal in wide networks: ||delta||^2 grows by chi = sigma_w^2 E[phi'(sqrt(q) z)^2] per layer
// (Poole et al. 2016; Schoenholz et al. 2017), and sub-exponentially through residual blocks (Yang, Schoenholz 2017).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/science/deep_network.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

// E[f(z)] for a standard normal z, by the trapezoidal rule.
double NormalMean(const std::function<double(double)>& f) {
  constexpr int kPoints = 200'001;
  constexpr double kEnd = 10, kStep = 2 * kEnd / (kPoints - 1);
  double sum = 0;
  for (int i = 0; i < kPoints; ++i) {
    const double z = -kEnd + i * kStep;
    sum += f(z) * std::exp(-z * z / 2);
  }
  return sum * kStep / std::sqrt(2 * M_PI);
}

double SquareOfTanh(double q) {
  return NormalMean([q](double z) { return std::pow(std::tanh(std::sqrt(q) * z), 2); });
}
double SquareOfSlope(double q) {
  return NormalMean([q](double z) { return std::pow(1 - std::pow(std::tanh(std::sqrt(q) * z), 2), 2); });
}

// ln chi of tanh at the fixed point q = sigma_w^2 E[tanh^2] + sigma_b^2.
double LogChi(double weight_variance, double bias_variance) {
  double q = 1;
  for (int i = 0; i < 200; ++i) q = weight_variance * SquareOfTanh(q) + bias_variance;
  return std::log(weight_variance * SquareOfSlope(q));
}

// The slope of ln ||delta||^2 from the end to the beginning, the mean of some networks.
double MeasuredSlope(double weight_variance, double bias_variance, int networks) {
  DeepNetwork deep(300, 300, 40,
                   "layers { name: 'hidden' dense { units: 300 } } "
                   "layers { activation { function: ACTIVATION_FUNCTION_TANH } } ");
  double sum = 0;
  for (int i = 0; i < networks; ++i) {
    deep.Draw(100 + i, weight_variance, bias_variance);
    std::vector<double> logs = deep.SquaredDeltas(i);
    for (double& value : logs) value = std::log(value);
    std::reverse(logs.begin(), logs.end());
    sum += Slope(logs);
  }
  return sum / networks;
}

TEST(SlowMeanField, ChiOfTanhIsWhatThePapersTabulate) {
  const double expected[][2] = {{0.5, 0.43199}, {1, 0.75903}, {1.5, 0.93864}, {2, 1.04767}, {3, 1.20893}, {4, 1.34240}};
  for (const auto& [weight_variance, chi] : expected) {
    ExpectNear("mean field, tanh", absl::StrCat("chi at sigma_w^2 = ", weight_variance, ", sigma_b^2 = 0.05"), chi,
               std::exp(LogChi(weight_variance, 0.05)), 1e-5);
  }
}

TEST(SlowMeanField, GradientsOfTanhNetworksGrowByChi) {
  for (const double weight_variance : {1.0, 1.3, 2.5, 4.0}) {
    ExpectNear("mean field, tanh", absl::StrCat("slope of ln ||delta||^2, sigma_w^2 = ", weight_variance),
               LogChi(weight_variance, 0.05), MeasuredSlope(weight_variance, 0.05, 6), 0.03);
  }
}

// PyTorch's recommended gain 5/3 for tanh lets gradients grow: chi = 1.20983.
TEST(SlowMeanField, TheRecommendedGainOfTanhExplodes) {
  const double weight_variance = 25.0 / 9;
  ExpectNear("mean field, tanh", "chi at gain 5/3", 1.20983, std::exp(LogChi(weight_variance, 0)), 1e-5);
  ExpectNear("mean field, tanh", "slope of ln ||delta||^2 at gain 5/3", LogChi(weight_variance, 0),
             MeasuredSlope(weight_variance, 0, 6), 0.03);
}

// x <- x + tanh(W x): p <- p + E[tanh^2], growth 1 + sigma_w^2 E[tanh'^2], with q = sigma_w^2 p.
double PredictedResidualGrowth(double weight_variance, int blocks) {
  double p = 1, log_growth = 0;
  for (int i = 0; i < blocks; ++i) {
    const double q = weight_variance * p;
    log_growth += std::log(1 + weight_variance * SquareOfSlope(q));
    p += SquareOfTanh(q);
  }
  return log_growth;
}

TEST(SlowMeanField, ResidualNetworksGrowLikeTheRootOfTheDepth) {
  const double published[][3] = {{1, 10, 2.643}, {1, 50, 7.216}, {1, 100, 10.546}, {2, 10, 3.464}, {2, 50, 9.468}};
  for (const auto& [weight_variance, blocks, growth] : published) {
    ExpectNear("mean field, residual tanh", absl::StrCat("ln growth, sigma_w^2 = ", weight_variance, ", L = ", blocks),
               growth, PredictedResidualGrowth(weight_variance, static_cast<int>(blocks)), 2e-3);
  }
}

}  // namespace
}  // namespace gradwatch::science
