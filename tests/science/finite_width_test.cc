// The exact law of the gradient's norm in networks of finite width (Hanin 2018; Hanin and Nica 2018): see
// finite_width_law.h.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/deep_network.h"
#include "tests/science/finite_width_law.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

std::string LinearLayer(int width) { return absl::StrCat("layers { name: 'hidden' dense { units: ", width, " } } "); }
std::string ReluLayer(int width) {
  return LinearLayer(width) + "layers { activation { function: ACTIVATION_FUNCTION_RELU } } ";
}

// ||delta^0||^2 / ||delta^L||^2 of many networks with `layers` layers between the two.
std::vector<double> Ratios(const std::string& layer, int width, int layers, double weight_variance, int networks) {
  DeepNetwork deep(width, width, layers + 1, layer);
  std::vector<double> ratios;
  for (int i = 0; i < networks; ++i) {
    deep.Draw(1000 + i, weight_variance, 0);
    const std::vector<double> deltas = deep.SquaredDeltas(i);
    // A narrow network can be dead for an input; the law is that of the living.
    if (deltas.front() > 0) ratios.push_back(deltas.front() / deltas.back());
  }
  return ratios;
}

std::vector<double> Logs(std::vector<double> ratios) {
  for (double& ratio : ratios) ratio = std::log(ratio);
  return ratios;
}

// Bounds: four standard errors of the mean, and of the variance of a normal variable.
void ExpectLaw(const std::string& experiment, int layers, const MeanAndVariance& layer_law,
               const std::vector<double>& logs) {
  const MeanAndVariance measured = MomentsOf(logs);
  const double mean = layers * layer_law.mean, variance = layers * layer_law.variance;
  const double count = static_cast<double>(logs.size());
  ExpectNear(experiment, absl::StrCat("mean of ln ||delta||^2 over ", layers, " layers"), mean, measured.mean,
             4 * std::sqrt(variance / count));
  ExpectNear(experiment, "variance of the same", variance, measured.variance, 4 * variance * std::sqrt(2 / count));
}

TEST(SlowFiniteWidth, TheLawIsThePublishedOne) {
  const double published[][3] = {
      {20, -.137187, .311758}, {50, -.051739, .108168}, {100, -.025421, .051940}, {256, -.009829, .019819}};
  for (const auto& [width, mean, variance] : published) {
    const MeanAndVariance law = ReluLayerLaw(static_cast<int>(width));
    ExpectNear("finite width, ReLU, He", absl::StrCat("mean per layer of ", width, " units, theory"), mean, law.mean,
               1e-6);
    ExpectNear("finite width, ReLU, He", "variance of the same, theory", variance, law.variance, 1e-6);
  }
}

TEST(SlowFiniteWidth, LogOfTheGradientOfReluNetworks) {
  const int cases[][3] = {{20, 20, 2000}, {50, 20, 2000}, {50, 50, 600}, {100, 20, 500}};
  for (const auto& [width, layers, networks] : cases) {
    const std::vector<double> ratios = Ratios(ReluLayer(width), width, layers, 2, networks);
    EXPECT_GT(ratios.size(), 0.999 * networks);
    ExpectLaw(absl::StrCat("finite width ", width, ", ReLU, He"), layers, ReluLayerLaw(width), Logs(ratios));
  }
}

TEST(SlowFiniteWidth, LogOfTheGradientOfLinearNetworks) {
  ExpectLaw("finite width 50, linear", 20, LinearLayerLaw(50), Logs(Ratios(LinearLayer(50), 50, 20, 1, 1000)));
}

// E ||delta^0||^2 / ||delta^L||^2 = 1: the mean is right although the typical gradient shrinks. Shallow, where the tail
// is not heavy: variance of the ratio (1 + 5/50)^4 - 1 = 0.464.
TEST(SlowFiniteWidth, MeanOfTheSquareIsOne) {
  constexpr int kNetworks = 2000;
  ExpectNear("finite width 50, ReLU, He", "mean of ||delta||^2 over 4 layers", 1,
             MomentsOf(Ratios(ReluLayer(50), 50, 4, 2, kNetworks)).mean, 4 * std::sqrt(0.4641 / kNetworks));
}

}  // namespace
}  // namespace gradwatch::science
