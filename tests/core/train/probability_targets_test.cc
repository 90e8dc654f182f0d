// Training on targets that are probabilities: the loss has a least value, and standardize leaves it alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/core/train/train_harness.h"

namespace gradwatch::core {
namespace {

// One weight and one bias that start at 0, on labels that a threshold of x tells apart: 0 to 1.8, and 10.1 to 11.9.
Training TrainOnLabels(bool standardize) {
  std::string table = "x,label\n";
  for (int i = 0; i < 20; ++i) absl::StrAppend(&table, 10 * (i % 2) + 0.1 * i, ",", i % 2, "\n");
  return TrainOnTable(table, absl::StrCat(R"(steps: 200
    model {
      layers { dense { units: 1 weight_init { method: INITIALIZER_METHOD_CONSTANT gain: 0 } } }
      loss { function: LOSS_FUNCTION_BINARY_CROSS_ENTROPY }
    }
    data { batch_size: 10 csv { path: "t.csv" inputs: "x" targets: "label" standardize: )",
                                          standardize ? "true" : "false", R"( } }
    validation { examples: 10 }
    optimizer { learning_rate: )",
                                          standardize ? "3" : "0.01", " }"));
}

// Labels scaled to -1 and 1 have a loss without end: below 0 as soon as the network tells them apart.
TEST(ProbabilityTargetsTest, TheLossNeverFallsBelowItsLeast) {
  for (const bool standardize : {false, true}) {
    SCOPED_TRACE(standardize);
    const Training run = TrainOnLabels(standardize);
    ASSERT_EQ(run.steps.size(), 200u);
    EXPECT_NEAR(run.steps[0].loss, std::log(2.0), 1e-6) << "of outputs of 0";
    for (const StepRecord& step : run.steps) ASSERT_GT(step.loss, 0) << step.step;
    EXPECT_EQ(run.result.state, v1::JOB_STATE_SUCCEEDED) << run.result.failure;
    EXPECT_GT(run.result.validation.loss, 0);
  }
}

// Training and a check read the same table in the same way.
TEST(ProbabilityTargetsTest, TheTrainerReadsThemAsItsLossTakesThem) {
  const testing::TempDir folder;
  folder.Write("t.csv", "x,y\n1,0\n2,1\n");
  const DataRoots roots = *DataRoots::Create({folder.path()});
  v1::JobSpec spec = ParseSpec(R"(steps: 1
    model { layers { dense { units: 1 } } loss { function: LOSS_FUNCTION_BINARY_CROSS_ENTROPY } }
    data { batch_size: 2 csv { path: "t.csv" inputs: "x" targets: "y" } }
    optimizer { learning_rate: 1 })",
                               roots);
  const testing::FakeClock clock;
  EXPECT_THAT(Trainer::Create(spec, roots, AlertIdentity(), &clock), testing::IsOk());
  // It has changed since.
  folder.Write("t.csv", "x,y\n1,0\n2,6.3\n");
  EXPECT_THAT(Trainer::Create(spec, roots, AlertIdentity(), &clock),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                ::testing::HasSubstr("data.csv.targets[0]: t.csv: line 3, column 2 (y): 6.3 is not a "
                                                     "probability")));
  // Values are not taken for probabilities.
  auto values = OpenData(spec.data(), spec.seed(), roots);
  ASSERT_THAT(values, testing::IsOk());
  EXPECT_THAT(Trainer::Create(spec, *std::move(values), AlertIdentity(), &clock),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("needs probabilities")));
}

}  // namespace
}  // namespace gradwatch::core
