// Statistics of tensors as a trainer tells them: of gradients that hardly deviate, of updates from tiny ones, and on
// reported steps only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/spec/job_spec.h"
#include "core/train/trainer.h"
#include "tests/support/fake_clock.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::SharedFile;

class Records final : public Observer {
 public:
  void OnStep(const StepRecord& record) override { all.push_back(record); }
  void OnAlert(const v1::Alert& /*alert*/) override {}
  void OnControlsApplied(int64_t /*revision*/, int64_t /*step*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  std::vector<StepRecord> all;
};

TrainResult Train(const v1::JobSpec& spec, const DataRoots& roots, Observer* observer) {
  const auto job = ValidateJob(spec, roots, SpecLimits());
  EXPECT_THAT(job, IsOk());
  FakeClock clock;
  auto trainer = Trainer::Create(job->spec, roots, AlertIdentity(), &clock);
  EXPECT_THAT(trainer, IsOk());
  ControlSnapshot controls;
  controls.controls = job->spec.controls();
  LiveControls live(controls);
  return (*trainer)->Run(live, *observer);
}

// One linear unit that starts at zero: the gradient is the row of inputs times 0.7.
v1::JobSpec OneRow(const std::string& path, int inputs) {
  v1::JobSpec spec;
  spec.set_steps(1);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_data()->set_batch_size(1);
  v1::CsvData* const csv = spec.mutable_data()->mutable_csv();
  csv->set_path(path);
  for (int i = 0; i < inputs; ++i) csv->add_inputs(absl::StrCat("x", i));
  csv->add_targets("y");
  *spec.mutable_model() = gradwatch::testing::ParseModel(R"(
    layers { dense { units: 1 bias: false weight_init { method: INITIALIZER_METHOD_ZERO } } }
    loss { function: LOSS_FUNCTION_SQUARED_ERROR })");
  return spec;
}

TEST(ReportedStatisticsTest, GradientsThatHardlyDeviateAreToldSo) {
  struct Case {
    const char* file;
    int inputs;
    double mean, deviation;  // computed in double from the floats
  };
  for (const Case& c : {Case{"near533.csv", 33, 0.0700020, 6.658e-6}, Case{"near51000.csv", 1000, 0.07, 6.97e-6},
                        Case{"same33.csv", 33, 0.07, 0}}) {
    const std::string path = SharedFile(absl::StrCat("cases/x_std/", c.file));
    if (path.empty()) GTEST_SKIP() << "no ../shared/cases/x_std/" << c.file;
    Records records;
    Train(OneRow(path, c.inputs), *DataRoots::Create({std::filesystem::path(path).parent_path().string()}), &records);
    ASSERT_EQ(records.all.size(), 1u);
    const TensorStatistics& tensor = records.all[0].tensors[0];
    EXPECT_NEAR(tensor.mean, c.mean, 1e-6) << c.file;
    EXPECT_NEAR(tensor.std_dev, c.deviation, 1e-3 * c.deviation) << c.file;
  }
}

// Gradients of 1e-20 beside an epsilon of 1e-30: their squares are denormal, and show. PyTorch's updates.
TEST(ReportedStatisticsTest, UpdatesFromTinyGradientsDoNotGrow) {
  const std::string path = SharedFile("cases/x_adam_tiny/d.csv");
  if (path.empty()) GTEST_SKIP() << "no ../shared/cases/x_adam_tiny/d.csv";
  v1::JobSpec spec = OneRow(path, 0);
  spec.mutable_data()->mutable_csv()->add_inputs("x");
  spec.set_steps(200);
  spec.mutable_optimizer()->set_method(v1::OPTIMIZER_METHOD_ADAM);
  spec.mutable_optimizer()->set_learning_rate(1e-4);
  spec.mutable_optimizer()->set_epsilon(1e-30);
  Records records;
  Train(spec, *DataRoots::Create({std::filesystem::path(path).parent_path().string()}), &records);
  ASSERT_EQ(records.all.size(), 200u);
  for (int step = 0; step <= 10; ++step) EXPECT_NEAR(records.all[step].tensors[0].update_norm, 1.0e-4, 2e-6) << step;
  EXPECT_NEAR(records.all[199].tensors[0].update_norm, 9.8e-5, 1e-6);
}

TEST(ReportedStatisticsTest, WhatIsReportedIsTheSameHoweverSeldomAndTheParametersToo) {
  v1::JobSpec spec;
  spec.set_steps(10);
  spec.set_seed(5);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_data()->set_batch_size(8);
  spec.mutable_data()->mutable_spirals();
  *spec.mutable_model() = gradwatch::testing::ParseModel(R"(
    layers { dense { units: 300 } }
    layers { activation { function: ACTIVATION_FUNCTION_RELU } }
    layers { dense { units: 2 } }
    loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })");
  Records always, seldom;
  const TrainResult expected = Train(spec, DataRoots(), &always);
  spec.mutable_controls()->set_report_every(3);
  EXPECT_EQ(Train(spec, DataRoots(), &seldom).parameters_sha256, expected.parameters_sha256);
  ASSERT_EQ(seldom.all.size(), always.all.size());
  for (size_t step = 0; step < always.all.size(); ++step) {
    EXPECT_EQ(seldom.all[step].report_tensors, step % 3 == 0);
    for (size_t i = 0; i < always.all[step].tensors.size(); ++i) {
      SCOPED_TRACE(absl::StrCat("step ", step, ", tensor ", i));
      const TensorStatistics &a = seldom.all[step].tensors[i], &b = always.all[step].tensors[i];
      EXPECT_EQ(a.l2_norm, b.l2_norm);
      EXPECT_EQ(a.std_dev, b.std_dev);
      EXPECT_EQ(a.zero_count, b.zero_count);
      EXPECT_EQ(a.update_norm, b.update_norm);
      // On other steps it is the one of the last report.
      EXPECT_EQ(a.histogram.counts, always.all[step / 3 * 3].tensors[i].histogram.counts);
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
