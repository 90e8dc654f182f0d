// Statistics of tensors as a trainer tells them: of gradients that hardly deviate, of updates from tiny ones, and on
// reported steps only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/core/train/train_harness.h"
#include "tests/support/shared_data.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::SharedFile;
using ::testing::ElementsAre;

DataRoots FolderOf(const std::string& path) {
  return *DataRoots::Create({std::filesystem::path(path).parent_path().string()});
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
    const DataRoots roots = FolderOf(path);
    const Training run = Train(Resolved(OneRow(path, c.inputs), roots), roots);
    ASSERT_EQ(run.steps.size(), 1u);
    const TensorStatistics& tensor = run.steps[0].tensors[0];
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
  const DataRoots roots = FolderOf(path);
  const Training run = Train(Resolved(spec, roots), roots);
  ASSERT_EQ(run.steps.size(), 200u);
  for (int step = 0; step <= 10; ++step) EXPECT_NEAR(run.steps[step].tensors[0].update_norm, 1.0e-4, 2e-6) << step;
  EXPECT_NEAR(run.steps[199].tensors[0].update_norm, 9.8e-5, 1e-6);
}

// A net with a tensor whose histogram is a sample, and no rules but those that a test adds.
v1::JobSpec Spirals(int steps) {
  v1::JobSpec spec;
  spec.set_steps(steps);
  spec.set_seed(5);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_data()->set_batch_size(8);
  spec.mutable_data()->mutable_spirals();
  spec.mutable_rules()->set_preset("none");
  *spec.mutable_model() = gradwatch::testing::ParseModel(R"(
    layers { dense { units: 300 } }
    layers { activation { function: ACTIVATION_FUNCTION_RELU } }
    layers { dense { units: 2 } }
    loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })");
  return spec;
}

// Spirals with histograms on every step.
Training TrainWithAllHistograms(v1::JobSpec spec) {
  spec.mutable_controls()->set_histogram_every(1);
  return Train(Resolved(spec));
}

// The steps that have histograms.
std::vector<int64_t> StepsWithHistograms(const Training& run) {
  std::vector<int64_t> steps;
  for (const StepRecord& record : run.steps) {
    if (record.report_histograms) steps.push_back(record.step);
  }
  return steps;
}

// A rule about norms above 1e6, which nothing but a batch that is spoilt has; of the update's rate, above 1e3.
void WatchSpoiltBatch(int64_t batch, bool by_update, v1::JobSpec* spec) {
  spec->mutable_data()->mutable_bad_batch()->set_batch(batch);
  spec->mutable_data()->mutable_bad_batch()->set_scale(1e8);
  v1::Rule* const rule = spec->mutable_rules()->add_rules();
  rule->set_name("r");
  if (by_update) {
    rule->set_tensors("*.weight");
    rule->mutable_update_ratio()->set_max_ratio(1e3);
  } else {
    rule->mutable_norm_limit()->set_max_norm(1e6);
  }
}

TEST(ReportedStatisticsTest, WhatIsReportedIsTheSameHoweverSeldomAndTheParametersToo) {
  v1::JobSpec spec = Spirals(10);
  const Training always = TrainWithAllHistograms(spec);
  spec.mutable_controls()->set_report_every(3);
  const Training seldom = TrainWithAllHistograms(spec);
  EXPECT_EQ(seldom.result.parameters_sha256, always.result.parameters_sha256);
  ASSERT_EQ(seldom.steps.size(), always.steps.size());
  for (size_t step = 0; step < always.steps.size(); ++step) {
    EXPECT_EQ(seldom.steps[step].report_tensors, step % 3 == 0);
    EXPECT_EQ(seldom.steps[step].report_histograms, step % 3 == 0);
    for (size_t i = 0; i < always.steps[step].tensors.size(); ++i) {
      SCOPED_TRACE(absl::StrCat("step ", step, ", tensor ", i));
      const TensorStatistics &a = seldom.steps[step].tensors[i], &b = always.steps[step].tensors[i];
      EXPECT_EQ(a.l2_norm, b.l2_norm);
      EXPECT_EQ(a.std_dev, b.std_dev);
      EXPECT_EQ(a.zero_count, b.zero_count);
      EXPECT_EQ(a.update_norm, b.update_norm);
      // On other steps it is the one of the last report.
      EXPECT_EQ(a.histogram.counts, always.steps[step / 3 * 3].tensors[i].histogram.counts);
    }
  }
}

TEST(ReportedStatisticsTest, HistogramsAreMeasuredOnEverySixteenthStep) {
  v1::JobSpec spec = Spirals(40);
  const Training always = TrainWithAllHistograms(spec);
  const Training usual = Train(Resolved(spec));
  EXPECT_EQ(usual.result.parameters_sha256, always.result.parameters_sha256);
  EXPECT_THAT(StepsWithHistograms(usual), ElementsAre(0, 16, 32));
  ASSERT_EQ(usual.steps.size(), always.steps.size());
  for (size_t step = 0; step < usual.steps.size(); ++step) {
    for (size_t i = 0; i < usual.steps[step].tensors.size(); ++i) {
      SCOPED_TRACE(absl::StrCat("step ", step, ", tensor ", i));
      const TensorStatistics& tensor = usual.steps[step].tensors[i];
      EXPECT_EQ(tensor.histogram.counts, always.steps[step / 16 * 16].tensors[i].histogram.counts);
      EXPECT_EQ(tensor.mean_abs, always.steps[step].tensors[i].mean_abs) << "the rest is measured on every step";
    }
  }
  spec.mutable_controls()->set_report_every(3);
  spec.mutable_controls()->set_histogram_every(4);
  EXPECT_THAT(StepsWithHistograms(Train(Resolved(spec))), ElementsAre(0, 12, 24, 36)) << "a multiple of both";
  // Resolved before there was the field.
  v1::JobSpec old = Resolved(Spirals(20));
  old.mutable_controls()->clear_histogram_every();
  EXPECT_THAT(StepsWithHistograms(Train(old)), ElementsAre(0, 16));
}

TEST(ReportedStatisticsTest, HistogramsAreMeasuredWhileAConditionHoldsAndSixteenStepsLonger) {
  for (const bool by_update : {false, true}) {
    v1::JobSpec spec = Spirals(40);
    WatchSpoiltBatch(5, by_update, &spec);
    spec.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    spec.mutable_controls()->mutable_clip()->set_threshold(by_update ? 1e9 : 1);
    spec.mutable_controls()->set_histogram_every(1000);
    const Training run = Train(Resolved(spec));
    // What holds before the update is known while the gradients are still there, after it they are clipped.
    const std::vector<int64_t> steps = StepsWithHistograms(run);
    ASSERT_GE(steps.size(), 2u);
    EXPECT_EQ(steps[0], 0);
    EXPECT_EQ(steps[1], by_update ? 6 : 5);
    if (by_update) continue;
    std::vector<int64_t> expected = {0};
    for (int64_t step = 5; step <= 21; ++step) expected.push_back(step);
    EXPECT_EQ(steps, expected);
    const Training always = TrainWithAllHistograms(spec);
    EXPECT_EQ(run.result.parameters_sha256, always.result.parameters_sha256);
    for (const int64_t step : expected) {
      for (size_t i = 0; i < run.steps[step].tensors.size(); ++i) {
        EXPECT_EQ(run.steps[step].tensors[i].histogram.counts, always.steps[step].tensors[i].histogram.counts)
            << step << ": as it was before clipping";
      }
    }
  }
}

TEST(ReportedStatisticsTest, StepsBetweenReportsHaveNoHistogramsWhateverHolds) {
  v1::JobSpec spec = Spirals(40);
  WatchSpoiltBatch(5, false, &spec);
  spec.mutable_controls()->set_report_every(4);
  spec.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  spec.mutable_controls()->mutable_clip()->set_threshold(1);
  EXPECT_THAT(StepsWithHistograms(Train(Resolved(spec))), ElementsAre(0, 8, 12, 16, 20, 32));
}

}  // namespace
}  // namespace gradwatch::core
