// Steps of several batches: what their mean is, and what happens to one that does not come to its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/core/train/train_harness.h"

namespace gradwatch::core {
namespace {

// One weight that starts at 0: the gradient of an example is -2 x y.
std::string OneWeight(int64_t accumulation, int64_t batch_size, uint64_t seed, const std::string& controls) {
  return absl::StrCat("steps: 1 seed: ", seed, " accumulation: ", accumulation, R"(
    model {
      layers { dense { units: 1 bias: false weight_init { method: INITIALIZER_METHOD_ZERO } } }
      loss { function: LOSS_FUNCTION_SQUARED_ERROR }
    }
    optimizer { learning_rate: 1 }
    controls { )",
                      controls, " } data { batch_size: ", batch_size,
                      R"( csv { path: "t.csv" inputs: "x" targets: "y" } })");
}

// Two gradients of -2e38, whose sum no float holds.
TEST(AccumulationTest, ASumMayOverflowWhereTheMeanDoesNot) {
  const std::string table = "x,y\n1e19,1e19\n1e19,1e19\n";
  const std::string clip = "clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 1 }";
  for (const auto& [accumulation, batch_size] : {std::pair(2, 1), std::pair(1, 2)}) {
    SCOPED_TRACE(accumulation);
    const Training run = TrainOnTable(table, OneWeight(accumulation, batch_size, 1, clip));
    ASSERT_EQ(run.steps.size(), 1u);
    EXPECT_EQ(run.steps[0].non_finite(), 0);
    EXPECT_NEAR(run.steps[0].grad_norm / 2e38, 1, 1e-6);
    EXPECT_NEAR(run.steps[0].loss / 1e38, 1, 1e-6);
    EXPECT_EQ(run.steps[0].clip.action, v1::ClipOutcome::ACTION_CLIPPED);
    EXPECT_NEAR(run.steps[0].clip.norm_after, 1, 1e-6);
    EXPECT_NEAR(run.steps[0].tensors[0].update_norm, 1, 1e-6);
  }
}

// 2^24, 1, 1 and -2^24: in float, 2^24 + 1 is 2^24. Seeds draw other orders.
TEST(AccumulationTest, TheMeanIsRoundedOnce) {
  const std::string table = "x,y\n1,-8388608\n1,-0.5\n1,-0.5\n1,8388608\n";
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6, 7, 8}) {
    const Training run = TrainOnTable(table, OneWeight(4, 1, seed, ""));
    ASSERT_EQ(run.steps.size(), 1u);
    EXPECT_EQ(run.steps[0].grad_norm, 0.5) << seed;
  }
}

TEST(AccumulationTest, AnInfinityIsNotLostInTheMean) {
  const Training run = TrainOnTable("x,y\n1e30,1e30\n1,1\n", OneWeight(2, 1, 1, ""));
  ASSERT_EQ(run.steps.size(), 1u);
  EXPECT_EQ(run.steps[0].neg_inf_count, 1);
  EXPECT_EQ(run.steps[0].clip.action, v1::ClipOutcome::ACTION_SKIPPED);
}

// Stops the run when it reads the monotonic time for the `call`th time; a step reads it at its beginning and at its
// end.
class StoppingClock final : public Clock {
 public:
  StoppingClock(int call, LiveControls* live) : call_(call), live_(live) {}
  absl::Time Now() const override { return absl::UnixEpoch(); }
  absl::Duration Monotonic() const override {
    if (++calls_ == call_) live_->SetCommand(LiveControls::Command::kStop);
    return absl::ZeroDuration();
  }

 private:
  const int call_;
  LiveControls* const live_;
  mutable int calls_ = 0;
};

v1::JobSpec Spirals(int64_t steps) {
  return ParseSpec(absl::StrCat("seed: 3 accumulation: 500 steps: ", steps, R"(
    model {
      layers { dense { units: 8 } }
      layers { batch_norm {} }
      layers { activation { function: ACTIVATION_FUNCTION_TANH } }
      layers { dense { units: 2 } }
      loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }
    }
    data { batch_size: 8 spirals {} }
    optimizer { learning_rate: 0.1 momentum: 0.9 })"));
}

// The stop comes right after the beginning of a step, before its first batch.
TEST(AccumulationTest, AStopIsHeardBetweenTwoBatchesAndTheStepIsDropped) {
  const v1::JobSpec spec = Spirals(5);
  for (const int64_t done : {0, 1, 2}) {
    SCOPED_TRACE(done);
    LiveControls live({.controls = spec.controls()});
    const Training stopped = Train(spec, &live, StoppingClock(static_cast<int>(2 * done + 1), &live));
    EXPECT_EQ(stopped.result.state, v1::JOB_STATE_STOPPED);
    EXPECT_EQ(stopped.result.failure, "");
    EXPECT_EQ(stopped.result.steps_done, done);
    ASSERT_EQ(static_cast<int64_t>(stopped.steps.size()), done) << "a dropped step is not told";
    if (done == 0) continue;
    const Training whole = Train(Spirals(done));
    EXPECT_EQ(stopped.result.parameters_sha256, whole.result.parameters_sha256);
    EXPECT_EQ(stopped.result.final_loss, whole.result.final_loss);
    EXPECT_EQ(stopped.result.final_loss, stopped.steps.back().loss);
  }
}

TEST(AccumulationTest, ADroppedFirstStepLeavesTheParametersAtTheirStart) {
  const v1::JobSpec spec = Spirals(5);
  LiveControls within({.controls = spec.controls()}), before({.controls = spec.controls()});
  before.SetCommand(LiveControls::Command::kStop);
  const Training dropped = Train(spec, &within, StoppingClock(1, &within));
  EXPECT_EQ(dropped.result.steps_done, 0);
  EXPECT_EQ(dropped.result.parameters_sha256, Train(spec, &before, testing::FakeClock()).result.parameters_sha256);
}

}  // namespace
}  // namespace gradwatch::core
