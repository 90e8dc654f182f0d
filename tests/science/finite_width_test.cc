// The exact law of the gradient's norm in ReLU networks of finite width (Hanin 2018; Hanin and Nica 2018): with weights
// N(0, 2/n_in), zero biases and a fixed linear probe at the top,
//   ||delta^l||^2 / ||delta^{l+1}||^2 = (2 / n_l) chi^2_K, K ~ Binomial(n_l, 1/2), independent over the layers.
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/science/deep_network.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

constexpr char kReluLayer[] =
    "layers { name: 'hidden' dense { units: 50 } } layers { activation { function: ACTIVATION_FUNCTION_RELU } } ";
constexpr char kLinearLayer[] = "layers { name: 'hidden' dense { units: 50 } } ";

// ln(||delta^0||^2 / ||delta^L||^2) of many networks of width 50 with 20 layers between the two.
std::vector<double> LogRatios(const char* layer, double weight_variance, int networks) {
  DeepNetwork deep(50, 50, 21, layer);
  std::vector<double> logs;
  for (int i = 0; i < networks; ++i) {
    deep.Draw(1000 + i, weight_variance, 0);
    const std::vector<double> deltas = deep.SquaredDeltas(i);
    // A narrow network can be dead for an input; the law is that of the living.
    if (deltas.front() > 0) logs.push_back(std::log(deltas.front() / deltas.back()));
  }
  return logs;
}

TEST(SlowFiniteWidth, LogOfTheGradientOfReluNetworks) {
  constexpr int kNetworks = 2000;
  const std::vector<double> logs = LogRatios(kReluLayer, 2, kNetworks);
  EXPECT_GT(logs.size(), 0.999 * kNetworks);
  const MeanAndVariance measured = MomentsOf(logs);
  // Per layer of width 50: mean -0.051739, variance 0.108168. Bounds: four standard errors; 13 %.
  const double mean = 20 * -0.051739, variance = 20 * 0.108168;
  ExpectNear("finite width, ReLU, He", "mean of ln ||delta||^2 over 20 layers", mean, measured.mean,
             4 * std::sqrt(variance / kNetworks));
  ExpectNear("finite width, ReLU, He", "variance of the same", variance, measured.variance, 0.13 * variance);
}

TEST(SlowFiniteWidth, LogOfTheGradientOfLinearNetworks) {
  constexpr int kNetworks = 1000;
  const MeanAndVariance measured = MomentsOf(LogRatios(kLinearLayer, 1, kNetworks));
  // Per layer psi(n/2) + ln(2/n) and psi_1(n/2) of n = 50, by their asymptotic series about x = 25.
  const double x = 25;
  const double mean = 20 * (-1 / (2 * x) - 1 / (12 * x * x) + 1 / (120 * std::pow(x, 4)));
  const double variance = 20 * (1 / x + 1 / (2 * x * x) + 1 / (6 * std::pow(x, 3)) - 1 / (30 * std::pow(x, 5)));
  ExpectNear("finite width, linear", "mean of ln ||delta||^2 over 20 layers", mean, measured.mean,
             4 * std::sqrt(variance / kNetworks));
  ExpectNear("finite width, linear", "variance of the same", variance, measured.variance, 0.18 * variance);
}

// E ||delta^0||^2 / ||delta^L||^2 = 1: the mean is right although the typical gradient shrinks. Shallow, where the tail
// is not heavy: variance of the ratio (1 + 5/50)^4 - 1 = 0.464.
TEST(SlowFiniteWidth, MeanOfTheSquareIsOne) {
  constexpr int kNetworks = 2000;
  DeepNetwork deep(50, 50, 5, kReluLayer);
  std::vector<double> ratios;
  for (int i = 0; i < kNetworks; ++i) {
    deep.Draw(5000 + i, 2, 0);
    const std::vector<double> deltas = deep.SquaredDeltas(i);
    ratios.push_back(deltas.front() / deltas.back());
  }
  ExpectNear("finite width, ReLU, He", "mean of ||delta||^2 over 4 layers", 1, MomentsOf(ratios).mean,
             4 * std::sqrt(0.4641 / kNetworks));
}

}  // namespace
}  // namespace gradwatch::science
