// What a run tells of its attention: figures where they are asked for, the same on any number of threads, and the alert
// of the rule that judges them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/core/train/train_harness.h"

namespace gradwatch::core {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Attention is layer 1 of 4. Large enough that its products are shared by threads.
v1::JobSpec Spec(bool layer_statistics, const std::string& attention = "", const std::string& rest = "") {
  return ParseSpec(absl::StrCat(R"(
    steps: 6 seed: 3
    model {
      layers { dense { units: 64 } }
      layers { self_attention { heads: 4 )",
                                attention, R"( } }
      layers { last_step {} }
      layers { dense { units: 1 } }
      loss { function: LOSS_FUNCTION_SQUARED_ERROR }
    }
    data { batch_size: 32 adding { sequence_length: 20 } }
    optimizer { learning_rate: 0.01 }
    rules { preset: "none" rules { name: "attention" attention {} } }
    controls { report_every: 2 )",
                                layer_statistics ? "layer_statistics: true" : "", " } ", rest));
}

// Keeps the steps and what is told of alerts.
class Told final : public Observer {
 public:
  explicit Told(const v1::JobSpec& spec) {
    const testing::FakeClock clock;
    const auto trainer = Trainer::Create(spec, DataRoots(), AlertIdentity(), &clock);
    EXPECT_THAT(trainer, testing::IsOk());
    LiveControls live({.controls = spec.controls()});
    if (trainer.ok()) (*trainer)->Run(live, *this);
  }

  void OnStep(const StepRecord& record) override { steps.push_back(record); }
  void OnAlert(const v1::Alert& alert) override { alerts.push_back(alert); }
  void OnEdit(const EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  std::vector<StepRecord> steps;
  std::vector<v1::Alert> alerts;
};

TEST(AttentionInTrainingTest, IsMeasuredOnTheStepsThatAreReportedAndWhereItIs) {
  const Told told(Spec(true));
  ASSERT_THAT(told.steps, SizeIs(6));
  EXPECT_THAT(told.alerts, IsEmpty()) << "it starts well";
  for (const StepRecord& step : told.steps) {
    ASSERT_THAT(step.layers, SizeIs(4));
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(step.layers[i].has_attention, i == 1) << i;
    EXPECT_TRUE(std::isnan(step.layers[0].attention_entropy));
    const LayerStatistics& attention = step.layers[1];
    EXPECT_GT(attention.largest_logit, 0);
    EXPECT_GT(attention.attention_entropy, 0.5);
    EXPECT_LT(attention.attention_entropy, 1);
    const LayerStatistics& reported = told.steps[step.step / 2 * 2].layers[1];
    EXPECT_EQ(attention.largest_logit, reported.largest_logit);
    EXPECT_EQ(attention.attention_entropy, reported.attention_entropy);
  }
  EXPECT_NE(told.steps[2].layers[1].largest_logit, told.steps[0].layers[1].largest_logit);
  EXPECT_NE(told.steps[2].layers[1].attention_entropy, told.steps[0].layers[1].attention_entropy);
}

TEST(AttentionInTrainingTest, IsTheSameOnAnyNumberOfThreads) {
  const Told one(Spec(true, "", "threads: 1")), three(Spec(true, "", "threads: 3"));
  ASSERT_EQ(one.steps.size(), three.steps.size());
  for (size_t i = 0; i < one.steps.size(); ++i) {
    EXPECT_EQ(one.steps[i].layers[1].largest_logit, three.steps[i].layers[1].largest_logit);
    EXPECT_EQ(one.steps[i].layers[1].attention_entropy, three.steps[i].layers[1].attention_entropy);
  }
}

TEST(AttentionInTrainingTest, LargeQueriesAndKeysFireOnTheFirstStepUnlessNobodyMeasures) {
  const std::string large = "weight_init { gain: 100 }";
  const Told told(Spec(true, large));
  ASSERT_FALSE(told.alerts.empty());
  const v1::Alert& alert = told.alerts[0];
  EXPECT_EQ(alert.rule(), "attention");
  EXPECT_EQ(alert.state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(alert.step(), 0);
  EXPECT_EQ(alert.value(), told.steps.at(0).layers.at(1).largest_logit);
  EXPECT_GT(alert.value(), 50);
  EXPECT_EQ(alert.limit(), 50);
  EXPECT_THAT(alert.summary(), HasSubstr("layer self_attention1 "));
  const Told blind(Spec(false, large));
  EXPECT_THAT(blind.alerts, IsEmpty());
  EXPECT_THAT(blind.steps.at(0).layers, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::core
