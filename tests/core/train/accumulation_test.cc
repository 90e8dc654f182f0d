// Steps of several batches: what their mean is, and what happens to one that does not come to its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/data/data_source.h"
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

constexpr int64_t kBatches = 20;  // of a step

v1::JobSpec Spirals(int64_t steps) {
  return ParseSpec(absl::StrCat("seed: 3 accumulation: ", kBatches, " steps: ", steps, R"(
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

// Data that asks for a stop when it is asked for a batch, which is then still taken.
class StoppingData final : public DataSource {
 public:
  // `stop_at`: the batch; -1: none.
  StoppingData(std::unique_ptr<DataSource> data, int64_t stop_at, LiveControls* live)
      : data_(std::move(data)), stop_at_(stop_at), live_(live) {}
  const DataShape& shape() const override { return data_->shape(); }
  int64_t examples() const override { return data_->examples(); }
  int64_t bytes() const override { return data_->bytes(); }
  Batch Fill(int64_t step) override {
    filled_ = step;
    if (step == stop_at_) live_->SetCommand(LiveControls::Command::kStop);
    return data_->Fill(step);
  }
  Batch FillHeldOut(int64_t index) override { return data_->FillHeldOut(index); }
  int64_t filled() const { return filled_; }

 private:
  const std::unique_ptr<DataSource> data_;
  const int64_t stop_at_;
  LiveControls* const live_;
  int64_t filled_ = -1;  // the last batch
};

// Keeps what is told of edits as well.
class RecordsAndEdits final : public Observer {
 public:
  void OnStep(const StepRecord& record) override { steps.push_back(record); }
  void OnAlert(const v1::Alert& /*alert*/) override {}
  void OnEdit(const EditOutcome& outcome) override {
    EXPECT_TRUE(outcome.applied) << outcome.reason;
    EXPECT_EQ(outcome.step, static_cast<int64_t>(steps.size()))
        << "before the report of its step, after the one before";
    edits.emplace_back(outcome.edit, outcome.step);
  }
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  std::vector<StepRecord> steps;
  std::vector<std::pair<int64_t, int64_t>> edits;  // id, first step
};

struct StoppedRun {
  TrainResult result;
  std::vector<float> layer_state;
  std::vector<StepRecord> steps;
  std::vector<std::pair<int64_t, int64_t>> edits;
  int64_t last_batch = -1;
};

// A run that is told to stop when it takes batch `stop_at` (-1: never), and whose controls are edited from step
// `change_at` on (-1: never).
StoppedRun RunUntil(const v1::JobSpec& spec, int64_t stop_at, int64_t change_at = -1) {
  LiveControls live({.controls = spec.controls()});
  if (change_at >= 0) live.Add({.edit = 5, .paths = {"gradient_cosine"}, .at_step = change_at});
  auto data = std::make_unique<StoppingData>(*OpenData(spec.data(), spec.seed(), DataRoots()), stop_at, &live);
  const StoppingData* const source = data.get();
  const testing::FakeClock clock;
  const auto trainer = *Trainer::Create(spec, std::move(data), AlertIdentity(), &clock);
  RecordsAndEdits records;
  StoppedRun run;
  run.result = trainer->Run(live, records);
  const std::span<const float> state = trainer->layer_state();
  run.layer_state.assign(state.begin(), state.end());
  run.steps = records.steps;
  run.edits = records.edits;
  run.last_batch = source->filled();
  return run;
}

// The state that a network starts with: a run that is stopped before its first batch.
StoppedRun Untrained(const v1::JobSpec& spec) {
  LiveControls live({.controls = spec.controls()});
  live.SetCommand(LiveControls::Command::kStop);
  const testing::FakeClock clock;
  const auto trainer = *Trainer::Create(spec, DataRoots(), AlertIdentity(), &clock);
  StoppedRun run;
  const std::span<const float> state = trainer->layer_state();
  run.layer_state.assign(state.begin(), state.end());
  RecordsAndEdits records;
  run.result = trainer->Run(live, records);
  return run;
}

// Not one batch is begun after a stop, and what those before it have changed is taken back: parameters and running
// statistics are those of a run that ends before the step.
TEST(AccumulationTest, AStopIsHeardBetweenTwoBatchesAndTheStepIsDropped) {
  const v1::JobSpec spec = Spirals(5);
  for (const int64_t done : {0, 1, 2}) {
    const StoppedRun whole = done == 0 ? Untrained(spec) : RunUntil(Spirals(done), -1);
    EXPECT_GT(whole.layer_state.size(), 0u);
    for (const int64_t batch : {int64_t{0}, int64_t{1}, kBatches / 2, kBatches - 2}) {
      SCOPED_TRACE(absl::StrCat("batch ", batch, " after ", done, " steps"));
      const int64_t stop_at = done * kBatches + batch;
      const StoppedRun stopped = RunUntil(spec, stop_at);
      EXPECT_EQ(stopped.last_batch, stop_at) << "no batch after the stop";
      EXPECT_EQ(stopped.result.state, v1::JOB_STATE_STOPPED);
      EXPECT_EQ(stopped.result.failure, "");
      EXPECT_EQ(stopped.result.steps_done, done);
      ASSERT_EQ(static_cast<int64_t>(stopped.steps.size()), done) << "a dropped step is not told";
      EXPECT_EQ(stopped.result.parameters_sha256, whole.result.parameters_sha256);
      EXPECT_EQ(stopped.layer_state, whole.layer_state);
      EXPECT_EQ(stopped.result.first_loss, whole.result.first_loss);
      EXPECT_EQ(stopped.result.final_loss, whole.result.final_loss);
      EXPECT_EQ(stopped.result.final_loss.has_value(), done > 0) << "what was not measured is no number";
    }
  }
}

// A step whose last batch is under way is finished.
TEST(AccumulationTest, AStopWithinTheLastBatchDropsNothing) {
  const StoppedRun stopped = RunUntil(Spirals(5), 2 * kBatches - 1), whole = RunUntil(Spirals(2), -1);
  EXPECT_EQ(stopped.result.state, v1::JOB_STATE_STOPPED);
  EXPECT_EQ(stopped.result.steps_done, 2);
  EXPECT_EQ(stopped.result.parameters_sha256, whole.result.parameters_sha256);
  EXPECT_EQ(stopped.layer_state, whole.layer_state);
}

// An edit is told to hold from a step on only if that step comes to its end.
TEST(AccumulationTest, AnEditOfADroppedStepHasNeverHeld) {
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  using ::testing::Pair;
  EXPECT_THAT(RunUntil(Spirals(3), -1, 2).edits, ElementsAre(Pair(5, 2)));
  EXPECT_THAT(RunUntil(Spirals(3), 2 * kBatches + 3, 2).edits, IsEmpty());
  EXPECT_THAT(RunUntil(Spirals(3), 3 * kBatches - 1, 2).edits, ElementsAre(Pair(5, 2)));
  EXPECT_THAT(RunUntil(Spirals(3), 3).edits, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::core
