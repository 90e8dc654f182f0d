// Fixup (Zhang, Dauphin, Ma 2019): residual networks without normalisation start as the identity and train at rates at
// which the same network from He's weights overflows. Branches as in the authors' program without the ReLU after the
// sum; biases are vectors, those of the layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/science/job_run.h"
#include "tests/science/layer_signals.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

constexpr int kBlocks = 100, kWidth = 64, kClasses = 10;

std::string Dense(int units, const std::string& initializer) {
  return absl::StrCat("layers { dense { units: ", units, " weight_init { method: ", initializer, " } } } ");
}

std::string Model(const std::string& first, const std::string& last, const std::string& classifier) {
  const std::string branch = absl::StrCat("layers { residual { ", Dense(kWidth, first),
                                          "layers { activation { function: ACTIVATION_FUNCTION_RELU } } ",
                                          Dense(kWidth, last), "layers { scale { bias: true } } } } ");
  return absl::StrCat(Dense(kWidth, "INITIALIZER_METHOD_HE"), Repeat(branch, kBlocks), Dense(kClasses, classifier),
                      "loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY } ");
}

std::string Fixup(const std::string& classifier = "INITIALIZER_METHOD_ZERO") {
  return Model(absl::StrCat("INITIALIZER_METHOD_FIXUP branches: ", kBlocks), "INITIALIZER_METHOD_ZERO", classifier);
}

TEST(SlowFixup, StartsWithoutAnOpinion) {
  const core::DataShape data = testing::ClassData(0, 32, kClasses);
  const testing::TestBatch batch = testing::RandomBatch(data, 16, 1);
  const LayerSignals signals = SendThrough(Fixup(), data, batch, 1);
  double largest = 0;
  for (const float logit : signals.network->outputs()) largest = std::max(largest, std::fabs(double{logit}));
  ExpectNear("Fixup, 100 blocks", "largest logit at the start", 0, largest, 0);
  ExpectNear("Fixup, 100 blocks", "loss at the start", std::log(kClasses), signals.network->Loss(batch.get()), 1e-7);
}

// A classifier of zeros lets nothing back; here it is random.
TEST(SlowFixup, EveryBlockPassesTheGradientOnUnchanged) {
  const core::DataShape data = testing::ClassData(0, 32, kClasses);
  const LayerSignals signals = SendThrough(Fixup("INITIALIZER_METHOD_HE"), data, testing::RandomBatch(data, 16, 1), 1);
  const std::vector<double> growths = LogGrowths(signals, "residual");
  ASSERT_EQ(growths.size(), static_cast<size_t>(kBlocks));
  ExpectNear("Fixup, 100 blocks", "least growth of a block at the start", 1,
             std::exp(*std::ranges::min_element(growths)), 0);
  ExpectNear("Fixup, 100 blocks", "largest growth of a block at the start", 1,
             std::exp(*std::ranges::max_element(growths)), 0);
}

JobRun Train(const std::string& model) {
  return RunJob(absl::StrCat("steps: 100 seed: 1 model { ", model,
                             " } data { batch_size: 64 gaussian_clusters { classes: 10 features: 32 spread: 0.7 } } "
                             "optimizer { learning_rate: 0.1 } "
                             "controls { clip { non_finite: NON_FINITE_ACTION_STOP } }"));
}

TEST(SlowFixup, TrainsAtARateAtWhichTheUnscaledNetworkOverflows) {
  const JobRun fixup = Train(Fixup());
  ExpectBetween("Fixup, 100 blocks, rate 0.1", "steps done of 100", 100, 100,
                static_cast<double>(fixup.result.steps_done));
  ExpectBetween("Fixup, 100 blocks, rate 0.1", "final loss", 0, 1, fixup.result.final_loss.value());
  EXPECT_EQ(fixup.FirstAlert(v1::SEVERITY_CRITICAL), -1);
  const JobRun unscaled = Train(Model("INITIALIZER_METHOD_HE", "INITIALIZER_METHOD_HE", "INITIALIZER_METHOD_HE"));
  ExpectBetween("He instead, 100 blocks", "steps until not finite", 0, 10,
                static_cast<double>(unscaled.result.steps_done));
  EXPECT_EQ(unscaled.result.state, v1::JOB_STATE_FAILED);
  EXPECT_EQ(unscaled.FirstAlert(v1::SEVERITY_WARNING), 0) << "its first update is larger than its weights";
  EXPECT_GE(unscaled.FirstAlert(v1::SEVERITY_CRITICAL), 0);
}

}  // namespace
}  // namespace gradwatch::science
