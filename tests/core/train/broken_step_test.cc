// Steps whose loss or gradients are not finite: what a run makes of them, and that a skipped one leaves no trace.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/core/train/train_harness.h"

namespace gradwatch::core {
namespace {

using Outcome = v1::ClipOutcome;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kBad = 4;  // the step that is broken

std::string NonFinite(v1::NonFiniteAction action, const std::string& clip = "", const std::string& controls = "") {
  return absl::StrCat("controls { clip { non_finite: ", v1::NonFiniteAction_Name(action), " ", clip, " } ", controls,
                      " }");
}

// One weight of 10 and, on one batch, an input of 1e38: the output is beyond a float, so Huber's loss is infinite. The
// gradient is the input times delta, which is finite.
constexpr char kTable[] = "x,y\n1,1\n";
std::string InfiniteLoss(int64_t steps, int64_t bad_batch, const std::string& rest) {
  return absl::StrCat("steps: ", steps, R"(
    model {
      layers { dense { units: 1 bias: false weight_init { method: INITIALIZER_METHOD_CONSTANT gain: 10 } } }
      loss { function: LOSS_FUNCTION_HUBER }
    }
    data { batch_size: 1 csv { path: "t.csv" inputs: "x" targets: "y" } )",
                      bad_batch < 0 ? "" : absl::StrCat("bad_batch { batch: ", bad_batch, " scale: 1e38 }"), " } ",
                      absl::StrContains(rest, "optimizer") ? "" : "optimizer { learning_rate: 0.1 } ", rest);
}

TEST(BrokenStepTest, ALossThatIsNotFiniteIsAnsweredThoughItsGradientsAreFinite) {
  for (const char* level : {"NONE", "NORM", "FULL"}) {
    for (const auto action :
         {v1::NON_FINITE_ACTION_SKIP_STEP, v1::NON_FINITE_ACTION_STOP, v1::NON_FINITE_ACTION_ZERO}) {
      SCOPED_TRACE(absl::StrCat(level, " ", v1::NonFiniteAction_Name(action)));
      const std::string controls = absl::StrCat("statistics: STATISTICS_LEVEL_", level);
      const Training run = TrainOnTable(kTable, InfiniteLoss(10, kBad, NonFinite(action, "", controls)));
      ASSERT_GT(run.steps.size(), static_cast<size_t>(kBad));
      const StepRecord& bad = run.steps[kBad];
      EXPECT_EQ(bad.loss, kInfinity);
      EXPECT_EQ(bad.non_finite(), 0);
      EXPECT_NEAR(bad.grad_norm / 1e38, 1, 1e-6);
      if (action == v1::NON_FINITE_ACTION_STOP) {
        EXPECT_EQ(bad.clip.action, Outcome::ACTION_STOPPED);
        EXPECT_EQ(run.result.state, v1::JOB_STATE_FAILED);
        EXPECT_EQ(run.result.failure, "the loss was +Inf at step 4 and clip.non_finite is stop");
        EXPECT_EQ(run.result.steps_done, kBad + 1);
        continue;
      }
      EXPECT_EQ(run.result.state, v1::JOB_STATE_SUCCEEDED) << run.result.failure;
      EXPECT_EQ(run.result.steps_done, 10);
      const bool skip = action == v1::NON_FINITE_ACTION_SKIP_STEP;
      EXPECT_EQ(bad.clip.action, skip ? Outcome::ACTION_SKIPPED : Outcome::ACTION_ZEROED);
      // The weight is 10 - 0.4 before, and after an update some 1e37.
      EXPECT_NEAR(std::log10(run.steps[kBad + 1].loss), skip ? std::log10(8.1) : 37, 0.01);
    }
  }
}

// A run with a skipped step against one that never had its batch: every step has the same example. What learns must not
// have counted, averaged or remembered anything.
TEST(BrokenStepTest, ASkippedStepIsAsIfItHadNeverBeen) {
  for (const char* optimizer :
       {"", "momentum: 0.9", "method: OPTIMIZER_METHOD_ADAM", "method: OPTIMIZER_METHOD_RMSPROP",
        "schedule { method: METHOD_PLATEAU period: 1 average_steps: 3 threshold: 0.9 }"}) {
    // The bad batch's norm of 1e38 would show in a percentile above the middle, and within and after warming up.
    for (const char* clip : {"NONE", "GLOBAL_NORM threshold: 0.5", "AUTOCLIP autoclip { percentile: 90 }",
                             "ZCLIP zclip { warmup_steps: 3 }", "ZCLIP zclip { warmup_steps: 9 }",
                             "ADAGC adagc { warmup_steps: 3 }", "ADAGC adagc { warmup_steps: 9 }"}) {
      SCOPED_TRACE(absl::StrCat(optimizer, " / ", clip));
      const std::string rest = absl::StrCat("optimizer { learning_rate: 0.1 ", optimizer,
                                            " } controls { clip { mode: CLIP_MODE_", clip, " } }");
      const Training with = TrainOnTable(kTable, InfiniteLoss(21, kBad, rest));
      const Training without = TrainOnTable(kTable, InfiniteLoss(20, -1, rest));
      ASSERT_EQ(with.steps.size(), 21u);
      ASSERT_EQ(with.steps[kBad].clip.action, Outcome::ACTION_SKIPPED);
      EXPECT_EQ(with.steps[kBad].tensors[0].update_norm, 0);
      EXPECT_GT(with.steps[kBad].tensors[0].weight_norm, 0);
      EXPECT_EQ(with.result.parameters_sha256, without.result.parameters_sha256);
      for (size_t i = 0; i < without.steps.size(); ++i) {
        const StepRecord& same = with.steps[i < kBad ? i : i + 1];
        ASSERT_EQ(same.loss, without.steps[i].loss) << i;
        ASSERT_EQ(same.learning_rate, without.steps[i].learning_rate) << i;
        ASSERT_EQ(same.clip.threshold, without.steps[i].clip.threshold) << i;
      }
    }
  }
}

struct EndCase {
  const char* table;
  const char* loss;
  v1::NonFiniteAction action;
  int64_t steps_done;
  v1::JobState state;
  const char* failure;
};

// Every step is broken: x is 1e38, and the weight 10 stays about that.
TEST(BrokenStepTest, OnlyALimitedNumberOfStepsInARowMayBeLost) {
  const char *infinite_loss = "x,y\n1e38,1\n", *infinite_gradient = "x,y\n1e37,1\n", *both = "x,y\n1e38,1\n";
  const EndCase cases[] = {
      {infinite_loss, "HUBER", v1::NON_FINITE_ACTION_SKIP_STEP, 5, v1::JOB_STATE_FAILED,
       "no step was learnt from: the loss was +Inf at step 4 (5 in a row, at which clip.max_consecutive_skips ends the "
       "job)"},
      {infinite_loss, "HUBER", v1::NON_FINITE_ACTION_ZERO, 5, v1::JOB_STATE_FAILED,
       "no step had a finite loss: the loss was +Inf at step 4 (5 in a row, at which clip.max_consecutive_skips ends "
       "the job)"},
      {infinite_loss, "HUBER", v1::NON_FINITE_ACTION_STOP, 1, v1::JOB_STATE_FAILED,
       "the loss was +Inf at step 0 and clip.non_finite is stop"},
      {infinite_gradient, "SQUARED_ERROR", v1::NON_FINITE_ACTION_SKIP_STEP, 5, v1::JOB_STATE_FAILED,
       "no step was learnt from: a gradient was not finite at step 4 (5 in a row, at which clip.max_consecutive_skips "
       "ends the job)"},
      // What ZERO is for: the network goes on with the elements that are finite.
      {infinite_gradient, "SQUARED_ERROR", v1::NON_FINITE_ACTION_ZERO, 12, v1::JOB_STATE_SUCCEEDED, ""},
      {both, "SQUARED_ERROR", v1::NON_FINITE_ACTION_ZERO, 5, v1::JOB_STATE_FAILED,
       "no step had a finite loss: the loss was +Inf and a gradient was not finite at step 4 (5 in a row, at which "
       "clip.max_consecutive_skips ends the job)"},
      {both, "SQUARED_ERROR", v1::NON_FINITE_ACTION_STOP, 1, v1::JOB_STATE_FAILED,
       "the loss was +Inf and a gradient was not finite at step 0 and clip.non_finite is stop"},
  };
  for (const EndCase& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.loss, " ", v1::NonFiniteAction_Name(c.action)));
    const Training run =
        TrainOnTable(c.table, absl::StrCat(R"(steps: 12
          model {
            layers { dense { units: 1 bias: false weight_init { method: INITIALIZER_METHOD_CONSTANT gain: 10 } } }
            loss { function: LOSS_FUNCTION_)",
                                           c.loss, R"( }
          }
          data { batch_size: 1 csv { path: "t.csv" inputs: "x" targets: "y" } }
          optimizer { learning_rate: 0.1 schedule { method: METHOD_PLATEAU period: 1 } })",
                                           NonFinite(c.action,
                                                     "max_consecutive_skips: 5 mode: CLIP_MODE_GLOBAL_NORM threshold: "
                                                     "1e-3")));
    EXPECT_EQ(run.result.steps_done, c.steps_done);
    EXPECT_EQ(run.result.state, c.state);
    EXPECT_EQ(run.result.failure, c.failure);
  }
}

// The failure's words where one such step is the last of its row.
TEST(BrokenStepTest, ALimitOfOneIsToldAsSuch) {
  for (const auto action : {v1::NON_FINITE_ACTION_SKIP_STEP, v1::NON_FINITE_ACTION_ZERO}) {
    const Training run = TrainOnTable(kTable, InfiniteLoss(10, kBad, NonFinite(action, "max_consecutive_skips: 1")));
    EXPECT_EQ(run.result.state, v1::JOB_STATE_FAILED);
    EXPECT_EQ(run.result.failure, "the loss was +Inf at step 4 and clip.max_consecutive_skips is 1");
  }
}

TEST(BrokenStepTest, ARunThatHasLearntFromNoStepHasNotSucceeded) {
  for (const int steps : {1, 50}) {
    const Training run = TrainOnTable("x,y\n1e38,1\n", InfiniteLoss(steps, -1, ""));
    EXPECT_EQ(run.result.steps_done, steps);
    EXPECT_EQ(run.result.state, v1::JOB_STATE_FAILED);
    EXPECT_EQ(run.result.failure, absl::StrCat("no step was learnt from: the loss was +Inf at step ", steps - 1));
  }
  // One step is enough, wherever it is.
  for (const int bad : {0, 1}) {
    const Training run = TrainOnTable(kTable, InfiniteLoss(2, bad, ""));
    ASSERT_EQ(run.steps.at(bad).clip.action, Outcome::ACTION_SKIPPED);
    EXPECT_EQ(run.result.state, v1::JOB_STATE_SUCCEEDED) << run.result.failure;
  }
}

TEST(BrokenStepTest, AStepThatIsWholeEndsTheRow) {
  for (const auto action : {v1::NON_FINITE_ACTION_SKIP_STEP, v1::NON_FINITE_ACTION_ZERO}) {
    const Training run =
        TrainOnTable(kTable, InfiniteLoss(10, kBad,
                                          NonFinite(action,
                                                    "max_consecutive_skips: 2 mode: CLIP_MODE_GLOBAL_NORM "
                                                    "threshold: 1")));
    EXPECT_EQ(run.result.state, v1::JOB_STATE_SUCCEEDED) << run.result.failure;
  }
}

TEST(BrokenStepTest, ARunWhoseLastUpdateWasOfABrokenLossHasNotSucceeded) {
  const auto end = [](v1::NonFiniteAction action, int64_t bad) {
    return TrainOnTable(kTable, InfiniteLoss(10, bad, NonFinite(action))).result;
  };
  const TrainResult zeroed = end(v1::NON_FINITE_ACTION_ZERO, 9);
  EXPECT_EQ(zeroed.state, v1::JOB_STATE_FAILED);
  EXPECT_EQ(zeroed.failure, "the loss was +Inf at step 9, the last one, and the network has learnt from it");
  EXPECT_EQ(zeroed.steps_done, 10);
  EXPECT_EQ(zeroed.parameters_sha256.size(), 64u);
  EXPECT_EQ(end(v1::NON_FINITE_ACTION_ZERO, 8).state, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(end(v1::NON_FINITE_ACTION_SKIP_STEP, 9).state, v1::JOB_STATE_SUCCEEDED) << "the network is as it was";
}

// Ten examples, one after the other in an order of their own; those of the last `bad` steps have an infinite loss.
TrainResult EndsOnBadSteps(int bad, const std::string& rest) {
  const auto train = [&](const std::set<float>& broken) {
    std::string table = "x,y\n";
    for (int i = 1; i <= 10; ++i) absl::StrAppend(&table, broken.count(i) > 0 ? "1e38" : "1", ",", i, "\n");
    return TrainOnTable(table, InfiniteLoss(10, -1, rest));
  };
  // Which rows come last is learnt from where one bad row shows itself.
  std::map<int64_t, float> row_of_step;
  for (int row = 1; row <= 10; ++row) {
    for (const StepRecord& step : train({static_cast<float>(row)}).steps) {
      if (!std::isfinite(step.loss)) row_of_step[step.step] = static_cast<float>(row);
    }
  }
  EXPECT_EQ(row_of_step.size(), 10u);
  std::set<float> broken;
  for (int step = 10 - bad; step < 10; ++step) broken.insert(row_of_step[step]);
  return train(broken).result;
}

TEST(BrokenStepTest, ARunThatEndsOnSkippedStepsHasNotSucceeded) {
  EXPECT_EQ(EndsOnBadSteps(0, "").state, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(EndsOnBadSteps(1, "").state, v1::JOB_STATE_SUCCEEDED) << "one bad batch";
  for (const int bad : {2, 7, 9}) {
    const TrainResult result = EndsOnBadSteps(bad, "");
    EXPECT_EQ(result.steps_done, 10);
    EXPECT_EQ(result.state, v1::JOB_STATE_FAILED);
    EXPECT_EQ(result.failure,
              absl::StrCat("the last ", bad, " steps were not learnt from: the loss was +Inf at step 9"));
  }
}

TEST(BrokenStepTest, TheFailureTellsSinceWhenNothingWasLearnt) {
  const TrainResult skipped = EndsOnBadSteps(6, NonFinite(v1::NON_FINITE_ACTION_SKIP_STEP, "max_consecutive_skips: 4"));
  EXPECT_EQ(skipped.failure,
            "no step was learnt from since step 3: the loss was +Inf at step 7 (4 in a row, at which "
            "clip.max_consecutive_skips ends the job)");
  const TrainResult zeroed = EndsOnBadSteps(
      6, NonFinite(v1::NON_FINITE_ACTION_ZERO, "max_consecutive_skips: 4 mode: CLIP_MODE_GLOBAL_NORM threshold: 1e-3"));
  EXPECT_EQ(zeroed.failure,
            "no step had a finite loss since step 3: the loss was +Inf at step 7 (4 in a row, at which "
            "clip.max_consecutive_skips ends the job)");
}

// The first update is of a finite loss and gradient, and breaks the weight; the steps after it are skipped.
TEST(BrokenStepTest, ARunThatEndsWithBrokenParametersHasNotSucceeded) {
  for (const int64_t steps : {1, 2, 5}) {
    const Training run = TrainOnTable(kTable, InfiniteLoss(steps, -1, "optimizer { learning_rate: 1e39 }"));
    EXPECT_TRUE(std::isfinite(run.steps.at(0).loss));
    EXPECT_EQ(run.result.steps_done, steps);
    EXPECT_EQ(run.result.state, v1::JOB_STATE_FAILED);
    const std::string broken = "the parameters of dense0.weight are not finite after the last step";
    if (steps < 3) {
      EXPECT_EQ(run.result.failure, broken);
    } else {
      EXPECT_THAT(run.result.failure, ::testing::AllOf(::testing::StartsWith("the last 4 steps were not learnt from: "),
                                                       ::testing::EndsWith(absl::StrCat(" at step 4; ", broken))));
    }
  }
}

// Neither skipped steps nor losses that are not finite say that learning has come to a halt.
TEST(BrokenStepTest, APlateauIsOneOfLossesThatWereLearntFrom) {
  for (const auto action : {v1::NON_FINITE_ACTION_SKIP_STEP, v1::NON_FINITE_ACTION_ZERO}) {
    const Training run = TrainOnTable(
        "x,y\n1e38,1\n",
        InfiniteLoss(12, -1,
                     "optimizer { learning_rate: 0.1 schedule { method: METHOD_PLATEAU period: 1 average_steps: 2 } }" +
                         NonFinite(action, "mode: CLIP_MODE_GLOBAL_NORM threshold: 1e-3")));
    ASSERT_EQ(run.steps.size(), 12u);
    for (const StepRecord& step : run.steps) EXPECT_EQ(step.learning_rate, 0.1) << step.step;
  }
}

// The first column of the bad batch overflows, the second does not: its batch norm measures 1e16. Nothing of that may
// reach the running statistics, which the judging on held-out examples uses; nor may, of a step of several batches,
// what its good ones have measured.
TEST(BrokenStepTest, ASkippedStepLeavesRunningStatisticsAlone) {
  std::string table = "a,b,y\n";
  for (int i = 0; i < 24; ++i) absl::StrAppend(&table, 2 + i % 5, ",", (i % 7 - 3), "e-22,", i % 3, "\n");
  for (const int accumulation : {1, 2}) {
    SCOPED_TRACE(accumulation);
    const Training run = TrainOnTable(table, absl::StrCat(R"(steps: 8
          model {
            layers { batch_norm { momentum: 0.5 } }
            layers { dense { units: 1 } }
            loss { function: LOSS_FUNCTION_SQUARED_ERROR }
          }
          data {
            batch_size: 4
            csv { path: "t.csv" inputs: ["a", "b"] targets: "y" }
            bad_batch { scale: 3e38 batch: )",
                                                          kBad * accumulation, R"( }
          }
          validation { examples: 8 every_steps: 1 }
          optimizer { learning_rate: 0.1 } accumulation: )",
                                                          accumulation));
    ASSERT_EQ(run.steps.size(), 8u);
    ASSERT_EQ(run.steps[kBad].clip.action, Outcome::ACTION_SKIPPED);
    EXPECT_EQ(run.steps[kBad].validation.loss, run.steps[kBad - 1].validation.loss);
    EXPECT_NE(run.steps[kBad + 1].validation.loss, run.steps[kBad].validation.loss) << "nothing is learnt at all";
    EXPECT_LT(run.steps[kBad + 1].validation.loss, 10);
  }
}

}  // namespace
}  // namespace gradwatch::core
