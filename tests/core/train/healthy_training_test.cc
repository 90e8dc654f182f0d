// Small networks that learn well, for thousands of steps: the default rules leave them in peace. Of the recipes each
// does something that a rule might take for the beginning of an explosion.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/core/train/train_harness.h"

namespace gradwatch::core {
namespace {

// Keeps the alerts that fire.
class Firings final : public Observer {
 public:
  void OnStep(const StepRecord& record) override { losses.push_back(record.loss); }
  void OnAlert(const v1::Alert& alert) override {
    if (alert.state() == v1::ALERT_STATE_FIRING) all.push_back(alert);
  }
  void OnEdit(const EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  // Mean loss of `count` steps from `from` on.
  double Mean(size_t from, size_t count) const {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += losses.at(from + i);
    return sum / static_cast<double>(count);
  }

  std::vector<v1::Alert> all;
  std::vector<double> losses;
};

struct Recipe {
  const char* name;
  const char* layers;
  const char* loss;
  const char* data;
  const char* rest;
  int warnings = 2;  // at most
};

constexpr char kDense[] =
    "layers { dense { units: 16 } } layers { activation { function: ACTIVATION_FUNCTION_RELU } } "
    "layers { dense { units: 4 } }";
constexpr char kClusters[] = "batch_size: 16 gaussian_clusters { classes: 4 features: 8 }";
constexpr char kSoftmax[] = "LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY";

const Recipe kRecipes[] = {
    {"Descent", kDense, kSoftmax, kClusters, "optimizer { learning_rate: 0.05 }"},
    {"Momentum", kDense, kSoftmax, kClusters, "optimizer { learning_rate: 0.02 momentum: 0.9 }"},
    {"Adam", kDense, kSoftmax, kClusters, "optimizer { method: OPTIMIZER_METHOD_ADAM learning_rate: 0.003 }"},
    {"WarmUpAndCosine", kDense, kSoftmax, kClusters,
     "optimizer { learning_rate: 0.1 schedule { method: METHOD_COSINE warmup_steps: 300 } }"},
    {"OneCycle", kDense, kSoftmax, kClusters, "optimizer { learning_rate: 0.1 schedule { method: METHOD_ONE_CYCLE } }"},
    {"Clipped", kDense, kSoftmax, kClusters,
     "optimizer { learning_rate: 0.05 } controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 0.5 } }"},
    // The loss of one example is near 0 or it is not: some are warned about as spikes.
    {"SingleExamples", kDense, kSoftmax, "batch_size: 1 gaussian_clusters { classes: 4 features: 8 }",
     "optimizer { learning_rate: 0.01 }", 60},
    {"BatchNormAndDropout",
     "layers { dense { units: 16 } } layers { batch_norm {} } "
     "layers { activation { function: ACTIVATION_FUNCTION_RELU } } layers { dropout { probability: 0.2 } } "
     "layers { dense { units: 4 } }",
     kSoftmax, kClusters, "optimizer { learning_rate: 0.05 }"},
    {"DeepTanh",
     "layers { dense { units: 16 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
     "layers { dense { units: 16 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
     "layers { dense { units: 16 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
     "layers { dense { units: 4 } }",
     kSoftmax, kClusters, "optimizer { method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.002 }"},
    {"Recurrent", "layers { rnn { units: 12 } } layers { last_step {} } layers { dense { units: 1 } }",
     "LOSS_FUNCTION_SQUARED_ERROR", "batch_size: 16 adding { sequence_length: 8 }",
     "optimizer { learning_rate: 0.05 } controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 1 } }"},
};

class HealthyTrainingTest : public ::testing::TestWithParam<Recipe> {};

TEST_P(HealthyTrainingTest, OfThreeThousandStepsHasNoCriticalAlert) {
  const Recipe& recipe = GetParam();
  const v1::JobSpec spec =
      ParseSpec(absl::StrCat("steps: 3000 seed: 1 model { ", recipe.layers, " loss { function: ", recipe.loss,
                             " } } data { ", recipe.data, " } ", recipe.rest));
  const testing::FakeClock clock;
  const auto trainer = Trainer::Create(spec, DataRoots(), AlertIdentity(), &clock);
  ASSERT_THAT(trainer, testing::IsOk());
  LiveControls live({.controls = spec.controls()});
  Firings told;
  const TrainResult result = (*trainer)->Run(live, told);
  EXPECT_EQ(result.state, v1::JOB_STATE_SUCCEEDED);
  ASSERT_EQ(told.losses.size(), 3000u);
  EXPECT_LT(told.Mean(2900, 100), 0.5 * told.Mean(0, 20)) << "it is to be a run that is well";
  int warnings = 0;
  for (const v1::Alert& alert : told.all) {
    EXPECT_NE(alert.severity(), v1::SEVERITY_CRITICAL) << alert.ShortDebugString();
    warnings += alert.severity() == v1::SEVERITY_WARNING ? 1 : 0;
  }
  EXPECT_LE(warnings, recipe.warnings);
}

INSTANTIATE_TEST_SUITE_P(Recipes, HealthyTrainingTest, ::testing::ValuesIn(kRecipes),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gradwatch::core
