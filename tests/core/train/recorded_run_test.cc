// What bench/detection feeds to the detector is what the trainer would: runs of the trainer itself are written down as
// recorded runs are, and played again.
#include "tests/support/recorded_run.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/core/train/train_harness.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::PlayRun;
using ::gradwatch::testing::RecordedRun;
using ::gradwatch::testing::RecordedStep;
using ::gradwatch::testing::RecordedTensor;
using ::gradwatch::testing::RunLabel;
using ::gradwatch::testing::TrainerView;
using ::testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Heard {
  std::vector<std::string> tensor_names;
  std::vector<StepRecord> steps;
  std::vector<v1::Alert> alerts;
};

class Listener final : public Observer {
 public:
  explicit Listener(Heard* heard) : heard_(heard) {}
  void OnStep(const StepRecord& record) override { heard_->steps.push_back(record); }
  void OnAlert(const v1::Alert& alert) override { heard_->alerts.push_back(alert); }
  void OnEdit(const EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

 private:
  Heard* const heard_;
};

Heard TrainAndListen(const v1::JobSpec& spec) {
  Heard heard;
  const testing::FakeClock clock;
  LiveControls live({.controls = spec.controls()});
  auto trainer = Trainer::Create(spec, DataRoots(), AlertIdentity(), &clock);
  EXPECT_THAT(trainer, IsOk());
  if (!trainer.ok()) return heard;
  for (const v1::TensorInfo& tensor : (*trainer)->tensors()) heard.tensor_names.push_back(tensor.name());
  Listener listener(&heard);
  (*trainer)->Run(live, listener);
  return heard;
}

// As a recorded run has it: norms that are not finite where a gradient is not, and the weights after their update,
// which are those before the next one. So the last step is left out.
RecordedRun WriteDown(const Heard& heard) {
  RecordedRun run;
  run.tensor_names = heard.tensor_names;
  for (size_t i = 0; i + 1 < heard.steps.size(); ++i) {
    const StepRecord& record = heard.steps[i];
    RecordedStep step{record.step,           record.loss,
                      record.learning_rate,  record.non_finite() > 0 ? kNaN : record.grad_norm,
                      record.clip.threshold, {}};
    for (size_t j = 0; j < record.tensors.size(); ++j) {
      const TensorStatistics& tensor = record.tensors[j];
      const bool broken = tensor.non_finite() > 0;
      step.tensors.push_back({broken ? kNaN : tensor.l2_norm, broken ? kNaN : tensor.max_abs,
                              broken ? kNaN : tensor.mean, broken ? kNaN : tensor.std_dev,
                              static_cast<double>(tensor.non_finite()), heard.steps[i + 1].tensors[j].weight_norm,
                              tensor.update_norm});
    }
    run.steps.push_back(std::move(step));
  }
  return run;
}

// What tells alerts apart, and all their words. What has no end before the last step is left out, and so are times.
std::vector<std::string> Words(const std::vector<v1::Alert>& alerts, int64_t last_step) {
  std::vector<std::string> words;
  for (const v1::Alert& alert : alerts) {
    if (alert.step() >= last_step) continue;
    words.push_back(absl::StrCat(alert.rule(), " ", alert.episode(), " ", v1::AlertState_Name(alert.state()), " ",
                                 alert.first_step(), " ", alert.step(), " ", alert.value(), " ", alert.limit(), " ",
                                 alert.tensor(), ": ", alert.summary(), " | ", absl::StrJoin(alert.diagnosis(), " ")));
  }
  return words;
}

// A small job; `rest` begins within its data, where one batch may be made a bad one.
v1::JobSpec SmallJob(const std::string& rest) {
  return ParseSpec(absl::StrCat(R"(
    steps: 120
    model {
      layers { dense { units: 16 bias: false } }
      layers { activation { function: ACTIVATION_FUNCTION_RELU } }
      layers { dense { units: 3 bias: false } }
      loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }
    }
    data { batch_size: 16 gaussian_clusters { classes: 3 features: 5 } )",
                                rest));
}

void ExpectSameAlerts(const v1::JobSpec& spec, int at_least) {
  const Heard heard = TrainAndListen(spec);
  ASSERT_GT(heard.steps.size(), 2u);
  const RecordedRun run = WriteDown(heard);
  const auto last_step = static_cast<int64_t>(run.steps.size()) - 1;
  const std::vector<std::string> told = Words(heard.alerts, last_step);
  EXPECT_GE(static_cast<int>(told.size()), at_least);
  // The trainer knows how many classes there are, which is not written down.
  const RunFacts facts = {.guessing_loss = std::log(3.0)};
  EXPECT_EQ(Words(PlayRun(run, spec.rules(), nullptr, facts), last_step), told);
}

TEST(RecordedRunTest, PlayedAgainARunOfTheTrainerHasTheAlertsThatItHad) {
  const std::string bad_batch = "bad_batch { batch: 60 scale: 1e4 } } ";
  ExpectSameAlerts(SmallJob(bad_batch + "optimizer { learning_rate: 0.1 }"), 4);
  ExpectSameAlerts(SmallJob(bad_batch + "optimizer { learning_rate: 0.001 method: OPTIMIZER_METHOD_ADAM }"), 2);
}

TEST(RecordedRunTest, SoItHasWhereItClips) {
  ExpectSameAlerts(
      SmallJob("bad_batch { batch: 60 scale: 1e4 } } optimizer { learning_rate: 0.1 } "
               "controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 0.5 pytorch_compatible: true } }"),
      2);
}

TEST(RecordedRunTest, SoItHasWhereAStepIsNotFinite) {
  ExpectSameAlerts(SmallJob("bad_batch { batch: 60 scale: 3e38 } } optimizer { learning_rate: 0.1 }"), 2);
}

TEST(RecordedRunTest, TheRecordIsTheTrainersAfterEachStep) {
  const Heard heard = TrainAndListen(
      SmallJob("bad_batch { batch: 60 scale: 3e38 } } optimizer { learning_rate: 0.1 momentum: 0.9 } "
               "controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 0.5 pytorch_compatible: true } }"));
  const RecordedRun run = WriteDown(heard);
  TrainerView view(&run);
  for (size_t i = 0; i < run.steps.size(); ++i) {
    SCOPED_TRACE(i);
    view.BeforeUpdate(i);
    const StepRecord &is = view.AfterUpdate(i), &was = heard.steps[i];
    EXPECT_EQ(is.step, was.step);
    EXPECT_EQ(is.learning_rate, was.learning_rate);
    EXPECT_EQ(is.clip.action, was.clip.action);
    EXPECT_EQ(is.clip.threshold, was.clip.threshold);
    EXPECT_EQ(is.clip.tensors_clipped, was.clip.tensors_clipped);
    EXPECT_NEAR(is.clip.norm_after, was.clip.norm_after, 1e-12);
    EXPECT_EQ(is.non_finite(), was.non_finite());
    if (was.non_finite() == 0) {
      EXPECT_EQ(is.grad_norm, was.grad_norm);
    }
    for (size_t j = 0; j < was.tensors.size(); ++j) {
      EXPECT_EQ(is.tensors[j].non_finite(), was.tensors[j].non_finite());
      EXPECT_EQ(is.tensors[j].update_norm, was.tensors[j].update_norm);
      EXPECT_EQ(is.tensors[j].clip_scale, was.tensors[j].clip_scale);
      // Of the first step it is not written down, and guessed.
      EXPECT_NEAR(is.tensors[j].weight_norm / was.tensors[j].weight_norm, 1, i == 0 ? 0.03 : 1e-12);
      if (was.tensors[j].non_finite() > 0) continue;
      EXPECT_EQ(is.tensors[j].l2_norm, was.tensors[j].l2_norm);
      EXPECT_EQ(is.tensors[j].mean, was.tensors[j].mean);
    }
  }
}

RecordedStep OneTensor(int64_t step, double after, double update) {
  return {step, 1, 0.1, 2, 0, {RecordedTensor{2, 1, 0, 1, 0, after, update}}};
}

TEST(RecordedRunTest, BeforeTheUpdateNothingIsKnownOfIt) {
  const RecordedRun run{{"w"}, {OneTensor(0, 10, 0.1), OneTensor(1, 10, 0.1)}};
  TrainerView view(&run);
  for (size_t i = 0; i < run.steps.size(); ++i) {
    EXPECT_EQ(view.BeforeUpdate(i).tensors[0].weight_norm, 0);
    EXPECT_EQ(view.BeforeUpdate(i).tensors[0].update_norm, 0);
    EXPECT_EQ(view.AfterUpdate(i).tensors[0].update_norm, 0.1);
  }
}

TEST(RecordedRunTest, WeightsThatAFaultHasChangedAreTakenFromTheirUpdate) {
  const RecordedRun run{{"w"}, {OneTensor(0, 10, 0.1), OneTensor(1, 1e6, 2), OneTensor(2, 3, 5)}};
  TrainerView view(&run);
  view.BeforeUpdate(0);
  EXPECT_NEAR(view.AfterUpdate(0).tensors[0].weight_norm, std::sqrt(100 - 0.01), 1e-9);
  view.BeforeUpdate(1);
  EXPECT_NEAR(view.AfterUpdate(1).tensors[0].weight_norm / 1e6, 1, 1e-3) << "not the 10 of the step before";
  view.BeforeUpdate(2);
  EXPECT_NEAR(view.AfterUpdate(2).tensors[0].weight_norm, 8, 0.01) << "at most 3 + 5, whatever it was";
}

TEST(RecordedRunTest, WhatIsNotFiniteIsCountedAndLeftOutOfNorms) {
  RecordedStep step = OneTensor(0, 10, 0.1);
  step.grad_norm = kNaN;
  step.tensors.push_back({kNaN, kNaN, kNaN, kNaN, 3, kNaN, kNaN});
  step.tensors.push_back({kInfinity, kInfinity, -kInfinity, kNaN, 4, kNaN, kNaN});
  const RecordedRun run{{"a", "b", "c"}, {step}};
  TrainerView view(&run);
  const StepRecord& record = view.BeforeUpdate(0);
  EXPECT_EQ(record.grad_norm, 2);
  EXPECT_EQ(record.nan_count, 3);
  EXPECT_EQ(record.neg_inf_count, 4);
  EXPECT_EQ(view.AfterUpdate(0).clip.action, v1::ClipOutcome::ACTION_SKIPPED);
  EXPECT_EQ(record.tensors[0].update_norm, 0);
}

class RecordedFilesTest : public ::testing::Test {
 protected:
  void WriteTrace(const std::string& text) const {
    gzFile file = gzopen(folder_.File("00007.jsonl.gz").c_str(), "wb");
    ASSERT_NE(file, nullptr);
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
  }

  testing::TempDir folder_;
};

constexpr char kHead[] =
    R"({"run": "00007", "tensors": [{"name": "b", "shape": [1]}, {"name": "a", "shape": [2, 3]}]})";

TEST_F(RecordedFilesTest, RunsAreReadAsTheyWereWritten) {
  WriteTrace(absl::StrCat(kHead, "\n",
                          R"({"step":0,"loss":0.5,"lr":0.1,"grad_norm":3,"clip_threshold":1.5,)"
                          R"("tensors":{"a":[1,2,3,4,0.0,6,7],"b":[8,9,10,11,0,13,14]}})",
                          "\n",
                          R"({"step":1,"loss":"Infinity","lr":0.1,"grad_norm":"NaN","clip_threshold":null,)"
                          R"("tensors":{"a":["NaN",2,"-Infinity",4,5,6,7],"b":[8,9,10,11,12,13,14]}})",
                          "\n"));
  const auto run = testing::ReadRun(folder_.path(), "00007");
  ASSERT_THAT(run, IsOk());
  EXPECT_THAT(run->tensor_names, ::testing::ElementsAre("b", "a"));
  ASSERT_EQ(run->steps.size(), 2u);
  EXPECT_EQ(run->steps[0].clip_threshold, 1.5);
  EXPECT_EQ(run->steps[0].tensors[0].grad_norm, 8) << "in the order of the head";
  EXPECT_EQ(run->steps[0].tensors[1].update_norm, 7);
  const RecordedStep& broken = run->steps[1];
  EXPECT_EQ(broken.loss, kInfinity);
  EXPECT_TRUE(std::isnan(broken.grad_norm));
  EXPECT_EQ(broken.clip_threshold, 0);
  EXPECT_TRUE(std::isnan(broken.tensors[1].grad_norm));
  EXPECT_EQ(broken.tensors[1].grad_mean, -kInfinity);
  EXPECT_EQ(broken.tensors[1].non_finite, 5);
}

TEST_F(RecordedFilesTest, WhatIsWrongIsSaidWithItsLine) {
  WriteTrace(absl::StrCat(kHead, "\n{\"step\": 0, \"tensors\": {\"a\": [1]}}\n"));
  EXPECT_THAT(testing::ReadRun(folder_.path(), "00007").status().message(), HasSubstr("00007.jsonl.gz:2: "));
  EXPECT_THAT(testing::ReadRun(folder_.path(), "00008").status().message(), HasSubstr("cannot open"));
}

TEST_F(RecordedFilesTest, LabelsNameTheirRuns) {
  folder_.Write("labels.jsonl",
                R"({"seed": 7, "label": "diverged", "how": "loss", "onset": 40, "fault": "lr_bump", "fault_step": 33})"
                "\n"
                R"({"seed": 300001, "label": "healthy", "how": null, "onset": null, "fault": "none", "clip": null})"
                "\n");
  const auto labels = testing::ReadLabels(folder_.path());
  ASSERT_THAT(labels, IsOk());
  ASSERT_EQ(labels->size(), 2u);
  const RunLabel &diverged = (*labels)[0], &healthy = (*labels)[1];
  EXPECT_EQ(diverged.run, "00007");
  EXPECT_FALSE(diverged.by_value);
  EXPECT_EQ(diverged.onset, 40);
  EXPECT_TRUE(diverged.has_fault);
  EXPECT_EQ(diverged.fault_step, 33);
  EXPECT_EQ(healthy.run, "300001");
  EXPECT_FALSE(healthy.onset.has_value());
  EXPECT_FALSE(healthy.has_fault);
  EXPECT_EQ(healthy.fields.at("clip"), "none");
  folder_.Write("labels.jsonl", R"({"seed": 7, "label": "spike", "onset": null})");
  EXPECT_THAT(testing::ReadLabels(folder_.path()).status().message(), HasSubstr("labels.jsonl:1: no onset"));
}

}  // namespace
}  // namespace gradwatch::core
