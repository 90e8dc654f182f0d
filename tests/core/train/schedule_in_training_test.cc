// A run uses and tells the rates of its schedule, times the scale of its controls.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/spec/job_spec.h"
#include "core/train/trainer.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

struct Rates final : Observer {
  void OnStep(const StepRecord& record) override { rates.push_back(record.learning_rate); }
  void OnAlert(const v1::Alert&) override {}
  void OnEdit(const EditOutcome&) override {}
  void OnPaused(int64_t) override {}
  void OnResumed(int64_t) override {}
  std::vector<double> rates;
};

// Ten steps of two layers on spirals with this optimizer and a scale of 0.5.
struct Outcome {
  std::vector<double> rates;
  std::string parameters;
};

Outcome Train(const std::string& optimizer) {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    steps: 10
    data { batch_size: 16 spirals {} }
    model {
      layers { dense { units: 8 weight_init { method: INITIALIZER_METHOD_PYTORCH } } }
      layers { activation { function: ACTIVATION_FUNCTION_TANH } }
      layers { dense { units: 2 } }
      loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }
    }
    controls { learning_rate_scale: 0.5 }
    optimizer { learning_rate: 0.1 )" + optimizer + "}",
                                                            &spec));
  const auto job = ValidateJob(spec, DataRoots(), SpecLimits());
  EXPECT_THAT(job, gradwatch::testing::IsOk());
  testing::FakeClock clock;
  auto trainer = Trainer::Create(job->spec, DataRoots(), {.job_id = "j", .job_uid = "u"}, &clock);
  EXPECT_THAT(trainer, gradwatch::testing::IsOk());
  LiveControls controls({.controls = job->spec.controls()});
  Rates rates;
  const TrainResult result = (*trainer)->Run(controls, rates);
  EXPECT_EQ(result.steps_done, 10);
  return {rates.rates, result.parameters_sha256};
}

TEST(ScheduleInTrainingTest, RatesAreThoseOfTheScheduleTimesTheScale) {
  std::vector<double> halving, warming;
  for (int t = 0; t < 10; ++t) {
    halving.push_back(0.05 * std::pow(0.5, t / 3));
    warming.push_back(0.05 * std::min(1.0, (t + 1) / 4.0));
  }
  EXPECT_EQ(Train("schedule { method: METHOD_STEP period: 3 gamma: 0.5 }").rates, halving);
  EXPECT_EQ(Train("schedule { warmup_steps: 4 }").rates, warming);
  // The horizon is that of the job.
  EXPECT_NEAR(Train("schedule { method: METHOD_ONE_CYCLE }").rates.back(), 0.05 / 25 / 1e4, 1e-15);
}

// No loss is better than the best by nearly all of it.
TEST(ScheduleInTrainingTest, APlateauHearsTheLosses) {
  const std::vector<double> rates =
      Train("schedule { method: METHOD_PLATEAU threshold: 0.999 period: 2 gamma: 0.5 }").rates;
  EXPECT_THAT(rates, ::testing::ElementsAre(.05, .05, .05, .05, .025, .025, .025, .0125, .0125, .0125));
}

TEST(ScheduleInTrainingTest, OneCycleDrivesTheMomentum) {
  const std::string cycle = "momentum: 0.9 schedule { method: METHOD_ONE_CYCLE cycle_momentum: ";
  const Outcome with = Train(cycle + "true }"), without = Train(cycle + "false }");
  EXPECT_EQ(with.rates, without.rates);
  EXPECT_NE(with.parameters, without.parameters);
}

}  // namespace
}  // namespace gradwatch::core
