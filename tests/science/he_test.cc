// Rectifiers need He's initialisation: from Xavier's, thirty layers lose the gradient and stall at chance (He, Zhang,
// Ren, Sun 2015). Their convolutional networks are too large here; these are dense ones on clusters.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/job_run.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

// A ReLU network of `depth` hidden layers of 128 units on ten Gaussian clusters: five times 4,000 points.
std::string ClusterJob(int depth, const std::string& method, int steps, int seed = 1) {
  std::string layers;
  for (int i = 0; i <= depth; ++i) {
    absl::StrAppend(&layers, "layers { dense { units: ", i < depth ? 128 : 10, " weight_init { method: ", method,
                    " uniform: false } } } ");
    if (i < depth) absl::StrAppend(&layers, "layers { activation { function: ACTIVATION_FUNCTION_RELU } } ");
  }
  return absl::StrCat("steps: ", steps, " seed: ", seed, " model { ", layers,
                      "loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY } } data { batch_size: 64 "
                      "gaussian_clusters { classes: 10 features: 32 spread: 0.7 } } "
                      "optimizer { learning_rate: 0.01 momentum: 0.9 } "
                      "controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 1 } }");
}

constexpr char kHe[] = "INITIALIZER_METHOD_HE", kXavier[] = "INITIALIZER_METHOD_XAVIER";

// The norm of the first layer's gradient at the start: its geometric mean over networks, since that of one network is
// spread log-normally.
double FirstGradient(int depth, const std::string& method) {
  constexpr int kNetworks = 10;
  double sum = 0;
  for (int seed = 1; seed <= kNetworks; ++seed) {
    sum += std::log(RunJob(ClusterJob(depth, method, 1, seed)).first[0].tensors[0].l2_norm);
  }
  return std::exp(sum / kNetworks);
}

// Xavier's deviation is 1/sqrt(2) of He's per layer, so the gradient of the first layer is 2^(-L/2) of He's.
TEST(SlowHe, XavierLosesHalfOfTheGradientPerLayerOfRelu) {
  for (const int depth : {22, 30}) {
    const double expected = std::pow(2, -depth / 2.0);
    ExpectNear("He et al. 2015", absl::StrCat("first gradient, Xavier / He, ", depth, " layers"), expected,
               FirstGradient(depth, kXavier) / FirstGradient(depth, kHe), 0.3 * expected);
  }
}

// "Xavier completely stalls": thirty layers learn from He's start and stay at chance, ln 10, from Xavier's.
TEST(SlowHe, ThirtyLayersLearnFromHeAndStallFromXavier) {
  const double he = RunJob(ClusterJob(30, kHe, 312)).result.final_loss.value();
  const double xavier = RunJob(ClusterJob(30, kXavier, 312)).result.final_loss.value();
  ExpectBetween("He et al. 2015", "final loss from Xavier, 30 layers", 0.98 * std::log(10), 1.02 * std::log(10),
                xavier);
  ExpectBetween("He et al. 2015", "final loss from He, 30 layers", 0, 1.2, he);
}

// Ten layers learn from both, and nothing is called lost meanwhile.
TEST(SlowHe, TenLayersLearnFromBoth) {
  for (const auto& [name, method] : {std::pair("Xavier", kXavier), {"He", kHe}}) {
    const JobRun run = RunJob(ClusterJob(10, method, 312));
    ExpectBetween("He et al. 2015", absl::StrCat("final loss from ", name, ", 10 layers"), 0, 1.2,
                  run.result.final_loss.value());
    EXPECT_EQ(run.FirstAlert(v1::SEVERITY_CRITICAL), -1) << name;
  }
}

}  // namespace
}  // namespace gradwatch::science
