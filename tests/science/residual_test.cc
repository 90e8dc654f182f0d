// Residual blocks: gradients of x + tanh(W x) grow like the exponential of the root of the depth (Yang and Schoenholz
// 2017), those of x + W2 relu(W1 x) by a constant factor per block. Simulations are measured by layer statistics.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/deep_network.h"
#include "tests/science/layer_signals.h"
#include "tests/science/mean_field.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

// x <- x + tanh(W x) from p_0 = 1: p <- p + E[tanh^2], growth 1 + sigma_w^2 E[tanh'^2], with q = sigma_w^2 p.
struct Prediction {
  double log_growth = 0, p = 1;
};
Prediction PredictResidual(double weight_variance, int blocks) {
  Prediction prediction;
  for (int i = 0; i < blocks; ++i) {
    const FunctionMoments moments = MomentsOfFunction(v1::ACTIVATION_FUNCTION_TANH, weight_variance * prediction.p);
    prediction.log_growth += std::log(1 + weight_variance * moments.slope_square);
    prediction.p += moments.square;
  }
  return prediction;
}

// ln growth of ||delta||^2 through each of `blocks` blocks, first to last, for one example. The orthogonal layer in
// front keeps the example's length and lets the first block have a gradient at its input.
std::vector<double> GrowthsThrough(const std::string& block, int width, int blocks, uint64_t seed) {
  const core::DataShape data = testing::ValueData(0, width, 1);
  const std::string model = absl::StrCat(
      "layers { dense { units: ", width, " bias: false weight_init { method: INITIALIZER_METHOD_ORTHOGONAL } } } ",
      Repeat(block, blocks), "layers { dense { units: 1 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }");
  return LogGrowths(SendThrough(model, data, testing::RandomBatch(data, 1, seed), seed), "residual");
}

std::string Dense(int width, double weight_variance) {
  return absl::StrCat("layers { dense { units: ", width,
                      " weight_init { method: INITIALIZER_METHOD_LECUN gain: ", std::sqrt(weight_variance), " } } } ");
}

TEST(SlowResidual, ThePredictionIsThePublishedOne) {
  const double published[][3] = {{1, 10, 2.643}, {1, 50, 7.216}, {1, 100, 10.546}, {1, 200, 15.169},
                                 {2, 10, 3.464}, {2, 50, 9.468}, {2, 100, 13.964}, {2, 200, 20.294}};
  for (const auto& [weight_variance, blocks, growth] : published) {
    ExpectNear("residual tanh", absl::StrCat("ln growth, sigma_w^2 = ", weight_variance, ", L = ", blocks, ", theory"),
               growth, PredictResidual(weight_variance, static_cast<int>(blocks)).log_growth, 2e-3);
  }
  const double lengths[][2] = {{10, 6.78}, {50, 39.6}, {100, 84.4}, {200, 177.4}};
  for (const auto& [blocks, p] : lengths) {
    ExpectNear("residual tanh", absl::StrCat("p, sigma_w^2 = 1, L = ", blocks, ", theory"), p,
               PredictResidual(1, static_cast<int>(blocks)).p, 0.05);
  }
}

// Bound: five networks of width 300 come within 8 % of the law for infinite width.
TEST(SlowResidual, GradientsGrowLikeTheRootOfTheDepth) {
  constexpr int kWidth = 300, kNetworks = 5;
  for (const double weight_variance : {1.0, 2.0}) {
    const std::string block = absl::StrCat("layers { residual { ", Dense(kWidth, weight_variance),
                                           "layers { activation { function: ACTIVATION_FUNCTION_TANH } } } }");
    std::vector<double> sums(200);
    for (int seed = 1; seed <= kNetworks; ++seed) {
      const std::vector<double> growths = GrowthsThrough(block, kWidth, 200, seed);
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += growths[i] / kNetworks;
    }
    // The first blocks of a deep network grow as a shallow network does: what comes back to them has no direction.
    for (const int blocks : {10, 50, 100, 200}) {
      const double predicted = PredictResidual(weight_variance, blocks).log_growth;
      ExpectNear("residual tanh", absl::StrCat("ln growth, sigma_w^2 = ", weight_variance, ", L = ", blocks), predicted,
                 std::accumulate(sums.begin(), sums.begin() + blocks, 0.0), 0.08 * predicted);
    }
  }
}

// E ||delta||^2 grows by 1 + n Var[W2] n Var[W1] / 2 per block. Bound: a block of width 256 spreads ln growth by some
// 0.1, the mean of 100 by 0.01; four of these.
TEST(SlowResidual, ReluBlocksDoubleOrTreble) {
  constexpr int kWidth = 256, kBlocks = 10, kNetworks = 10;
  const double cases[][2] = {{1, 2}, {2, 3}};
  for (const auto& [last_variance, factor] : cases) {
    const std::string block = absl::StrCat("layers { residual { ", Dense(kWidth, 2),
                                           "layers { activation { function: ACTIVATION_FUNCTION_RELU } } ",
                                           Dense(kWidth, last_variance), "} }");
    double sum = 0;
    for (int seed = 1; seed <= kNetworks; ++seed) sum += MomentsOf(GrowthsThrough(block, kWidth, kBlocks, seed)).mean;
    ExpectNear("residual ReLU", last_variance == 1 ? "growth per block, He and LeCun" : "growth per block, He and He",
               factor, std::exp(sum / kNetworks), 0.04 * factor);
  }
}

}  // namespace
}  // namespace gradwatch::science
