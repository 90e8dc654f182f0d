// Small inputs that were once treated wrongly, run as their users run them. They lie beside the project, with the right
// answers in ../shared/cases/README.md, and are skipped where that folder is absent.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/lib/spec_reader.h"
#include "client/worker/report_encoder.h"
#include "core/data/data_source.h"
#include "tests/core/train/train_harness.h"
#include "tests/support/process.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::worker {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::RunResult;
using ::gradwatch::testing::SharedFile;
using ::testing::HasSubstr;
using ::testing::Not;

RunResult RunWorker(const std::string& folder, const std::string& spec) {
  return testing::Run(
      {"gradwatch-worker", "train", absl::StrCat(folder, "/", spec), "--data-root", folder, "-o", "json"});
}

double FirstLoss(const RunResult& result) {
  google::protobuf::Struct object;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(result.out, &object).ok()) << result.out;
  return object.fields().at("first_loss").number_value();
}

class ByteOrderMarkCaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (folder_.empty()) GTEST_SKIP() << "no ../shared/cases/c02_bom";
  }
  const std::string folder_ = SharedFile("cases/c02_bom");
};

TEST_F(ByteOrderMarkCaseTest, IsNoCharacterOfAText) {
  const double loss = FirstLoss(RunWorker(folder_, "bom.yaml"));
  EXPECT_NEAR(loss, std::log(2), 1e-6) << "two characters, equally likely";
  EXPECT_EQ(loss, FirstLoss(RunWorker(folder_, "plain.yaml")));
}

// Weights are zero, so the loss is the mean square of the targets 2 and 4.
TEST_F(ByteOrderMarkCaseTest, IsNoPartOfTheFirstNameOfATable) {
  EXPECT_EQ(FirstLoss(RunWorker(folder_, "csv.yaml")), 10);
  EXPECT_EQ(FirstLoss(RunWorker(folder_, "csv_quoted.yaml")), 10);
}

TEST_F(ByteOrderMarkCaseTest, OfUtf16IsNamed) {
  const RunResult result = RunWorker(folder_, "utf16.yaml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("data.csv.path: utf16.csv: is UTF-16; must be UTF-8\n"));
}

class CarriageReturnCaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (folder_.empty()) GTEST_SKIP() << "no ../shared/cases/c03_cr_only";
  }
  const std::string folder_ = SharedFile("cases/c03_cr_only");
};

TEST_F(CarriageReturnCaseTest, AloneItIsNamed) {
  for (const char* name : {"head", "nohead"}) {
    const RunResult result = RunWorker(folder_, absl::StrCat(name, ".yaml"));
    EXPECT_EQ(result.exit_code, 2) << name;
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat("data.csv.path: ", name,
                                                   ".csv: line 1: holds a carriage return (CR) alone; lines must end "
                                                   "with LF or CR LF\n")));
  }
}

// The targets are 2, 4 and 6.
TEST_F(CarriageReturnCaseTest, BeforeALineFeedItIsTheSameLineEnd) {
  EXPECT_NEAR(FirstLoss(RunWorker(folder_, "mixed.yaml")), 56.0 / 3, 1e-5);
}

TEST_F(CarriageReturnCaseTest, NothingRawReachesTheTerminal) {
  const RunResult result = RunWorker(folder_, "esc.yaml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("esc.csv: line 2, column 2 (y): \"\\x1b[31mred\" is not a number\n"));
  EXPECT_THAT(result.err + result.out, Not(HasSubstr("\x1b")));
}

// Four lines of 9, 9, 9 and 10 characters, of which 13 are different.
TEST_F(CarriageReturnCaseTest, InATextItIsACharacter) {
  v1::DataSpec spec;
  spec.set_batch_size(2);
  spec.mutable_text()->set_path("text_cr.txt");
  spec.mutable_text()->set_sequence_length(4);
  const auto roots = *core::DataRoots::Create({folder_});
  const auto data = core::DescribeData(spec, 1, roots, 0, int64_t{1} << 30);
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ((*core::OpenData(spec, 1, roots))->examples(), 37 - 4);
  EXPECT_EQ(data->shape.outputs, 13);
}

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
  EXPECT_EQ(run_.result.state, v1::JOB_STATE_FAILED) << "it has learnt from no step";
  EXPECT_THAT(run_.result.failure, ::testing::MatchesRegex("no step was learnt from: .*a gradient was not finite at "
                                                           "step 49"));
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
