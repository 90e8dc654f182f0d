// Cases that have shown faults of the training loop, from files as a worker reads them. ../shared/cases/README.md says
// what is right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/lib/spec_reader.h"
#include "client/worker/report_encoder.h"
#include "tests/core/train/train_harness.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::worker {
namespace {

class SharedCasesTest : public ::testing::Test {
 protected:
  // Trains "FOLDER/NAME.yaml". False: it is not here.
  bool Train(const std::string& folder, const std::string& name) {
    const std::string path = testing::SharedFile(absl::StrCat("cases/", folder, "/", name, ".yaml"));
    if (path.empty()) return false;
    const absl::StatusOr<v1::JobSpec> spec = client::ReadJobSpec(path);
    EXPECT_THAT(spec, testing::IsOk());
    const core::DataRoots roots = *core::DataRoots::Create({testing::SharedFile(absl::StrCat("cases/", folder))});
    const auto job = core::ValidateJob(*spec, roots, core::SpecLimits());
    EXPECT_THAT(job, testing::IsOk());
    run_ = core::Train(job->spec, roots);
    return true;
  }
  v1::StepReport Report(const core::StepRecord& record) const {
    v1::StepReport report;
    EncodeReport(record, {}, 1, &report);
    return report;
  }

  core::Training run_;
};

TEST_F(SharedCasesTest, AccumulatedGradientsWhoseSumOverflows) {
  for (const char* name : {"huge", "huge_batch2"}) {
    SCOPED_TRACE(name);
    if (!Train("c07_accumulate_clip", name)) GTEST_SKIP() << "no ../shared/cases";
    ASSERT_EQ(run_.steps.size(), 1u);
    const v1::StepReport report = Report(run_.steps[0]);
    EXPECT_NEAR(report.grad_norm() / 2e38, 1, 1e-6);
    EXPECT_EQ(report.clip().action(), v1::ClipOutcome::ACTION_CLIPPED);
    EXPECT_NEAR(report.clip().norm_after(), 1, 1e-6);
    EXPECT_NEAR(report.tensors(0).update_norm(), 1, 1e-6);
  }
}

// The gradients (2, 0) and (0, 2): the mean is clipped, and not each by itself.
TEST_F(SharedCasesTest, TheMeanOfAccumulatedGradientsIsClipped) {
  if (!Train("c07_accumulate_clip", "acc")) GTEST_SKIP() << "no ../shared/cases";
  EXPECT_NEAR(run_.steps.at(0).grad_norm, std::sqrt(2), 1e-12);
  EXPECT_NEAR(run_.steps.at(0).clip.norm_after, 1, 1e-6);
}

// What a job is told to be like follows from these fields: no norm of finite elements is never a norm of 0.
TEST_F(SharedCasesTest, GradientsThatAreNotFiniteAreToldOnEveryStep) {
  if (!Train("c09_nan_visible", "over")) GTEST_SKIP() << "no ../shared/cases";
  ASSERT_EQ(run_.steps.size(), 50u);
  for (const core::StepRecord& step : run_.steps) {
    const v1::StepReport report = Report(step);
    EXPECT_EQ(report.nan_count() + report.pos_inf_count() + report.neg_inf_count(), 2) << step.step;
    EXPECT_FALSE(report.has_grad_norm()) << step.step;
    EXPECT_EQ(report.clip().action(), v1::ClipOutcome::ACTION_SKIPPED);
    EXPECT_FALSE(report.clip().has_norm_after());
    for (const v1::TensorStats& tensor : report.tensors()) EXPECT_FALSE(tensor.has_l2_norm()) << step.step;
  }
}

TEST_F(SharedCasesTest, OneStepThatIsNotFiniteIsToldAmongTheOthers) {
  if (!Train("c09_nan_visible", "nan")) GTEST_SKIP() << "no ../shared/cases";
  ASSERT_EQ(run_.steps.size(), 40u);
  for (const core::StepRecord& step : run_.steps) {
    const v1::StepReport report = Report(step);
    const bool bad = step.step == 20;
    EXPECT_EQ(report.nan_count() + report.pos_inf_count() + report.neg_inf_count() > 0, bad) << step.step;
    EXPECT_EQ(report.has_grad_norm(), !bad) << step.step;
    EXPECT_EQ(std::isfinite(report.loss()), !bad) << step.step;
    EXPECT_EQ(report.grad_norm() > 0, !bad) << step.step;
  }
  EXPECT_EQ(run_.result.state, v1::JOB_STATE_SUCCEEDED);
}

}  // namespace
}  // namespace gradwatch::worker
