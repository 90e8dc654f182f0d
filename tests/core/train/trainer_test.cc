#include "core/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/data/data_source.h"
#include "core/spec/job_spec.h"
#include "tests/support/allocation_count.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Records final : public Observer {
 public:
  void OnStep(const StepRecord& record) override { all.push_back(record); }
  void OnAlert(const v1::Alert& /*alert*/) override {}
  void OnEdit(const EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  std::vector<StepRecord> all;
};

v1::JobSpec Spec(int batch_size, int64_t steps) {
  v1::JobSpec spec;
  spec.set_steps(steps);
  spec.set_seed(5);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_data()->set_batch_size(batch_size);
  spec.mutable_data()->mutable_spirals();
  *spec.mutable_model() = gradwatch::testing::ParseModel(R"(
    layers { dense { units: 8 } }
    layers { activation { function: ACTIVATION_FUNCTION_TANH } }
    layers { dense { units: 2 } }
    loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })");
  return spec;
}

TrainResult Train(const v1::JobSpec& spec, Observer* observer) {
  const auto job = ValidateJob(spec, DataRoots(), SpecLimits());
  EXPECT_THAT(job, IsOk());
  FakeClock clock;
  auto trainer = Trainer::Create(job->spec, DataRoots(), AlertIdentity(), &clock);
  EXPECT_THAT(trainer, IsOk());
  ControlSnapshot controls;
  controls.controls = job->spec.controls();
  LiveControls live(controls);
  return (*trainer)->Run(live, *observer);
}

TEST(TrainerTest, SeveralSmallBatchesMakeTheStepOfALargeOne) {
  Records large, small;
  Train(Spec(24, 20), &large);
  v1::JobSpec spec = Spec(8, 20);
  spec.set_accumulation(3);
  Train(spec, &small);
  ASSERT_EQ(small.all.size(), large.all.size());
  for (size_t i = 0; i < small.all.size(); ++i) {
    EXPECT_NEAR(small.all[i].loss, large.all[i].loss, 1e-5 * large.all[i].loss) << "step " << i;
    EXPECT_NEAR(small.all[i].grad_norm, large.all[i].grad_norm, 1e-4 * large.all[i].grad_norm) << "step " << i;
  }
}

TEST(TrainerTest, ValidatesOnItsStepsAndAfterTheLast) {
  v1::JobSpec spec = Spec(8, 10);
  spec.mutable_validation()->set_examples(27);  // three whole batches
  spec.mutable_validation()->set_every_steps(4);
  Records records;
  const TrainResult result = Train(spec, &records);
  std::vector<int64_t> validated;
  for (const StepRecord& record : records.all) {
    if (!record.validation.measured) continue;
    validated.push_back(record.step);
    EXPECT_EQ(record.validation.targets, 24);
    EXPECT_GE(record.validation.correct, 0);
    EXPECT_LE(record.validation.correct, 24);
    EXPECT_TRUE(std::isfinite(record.validation.loss));
    EXPECT_TRUE(record.validation.has_perplexity);
  }
  EXPECT_THAT(validated, ElementsAre(3, 7, 9));
  EXPECT_EQ(result.validation.loss, records.all.back().validation.loss);
}

// Stops the run when it looks at the time for the second time: after the step, before it is validated.
class StoppingClock final : public Clock {
 public:
  explicit StoppingClock(LiveControls* live) : live_(live) {}
  absl::Time Now() const override { return absl::UnixEpoch(); }
  absl::Duration Monotonic() const override {
    if (++calls_ == 2) live_->SetCommand(LiveControls::Command::kStop);
    return absl::ZeroDuration();
  }

 private:
  LiveControls* const live_;
  mutable int calls_ = 0;
};

TEST(TrainerTest, AStopIsHeardWhileValidating) {
  v1::JobSpec spec = Spec(8, 5);
  spec.mutable_validation()->set_examples(1000);
  spec.mutable_validation()->set_every_steps(1);
  const auto job = ValidateJob(spec, DataRoots(), SpecLimits());
  ControlSnapshot controls;
  controls.controls = job->spec.controls();
  LiveControls live(controls);
  const StoppingClock clock(&live);
  const auto trainer = *Trainer::Create(job->spec, DataRoots(), AlertIdentity(), &clock);
  Records records;
  const TrainResult result = trainer->Run(live, records);
  EXPECT_EQ(result.state, v1::JOB_STATE_STOPPED);
  EXPECT_EQ(result.steps_done, 1);
  EXPECT_FALSE(result.validation.measured) << "half a validation is none";
}

// With layers that are otherwise while they train: had the judging left them as they are while they judge, dropout and
// batch norm would be off in all later steps, and the parameters others; had it moved the running statistics, so would
// be what the last judging finds.
TEST(TrainerTest, ValidationDoesNotDisturb) {
  std::vector<TrainResult> results;
  for (const int every : {0, 1}) {  // 0: after the last step only
    v1::JobSpec spec = Spec(8, 10);
    *spec.mutable_model() = gradwatch::testing::ParseModel(R"(
      layers { dense { units: 16 } }
      layers { batch_norm { momentum: 0.5 } }
      layers { activation { function: ACTIVATION_FUNCTION_TANH } }
      layers { dropout { probability: 0.5 } }
      layers { dense { units: 2 } }
      loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })");
    spec.mutable_validation()->set_examples(16);
    if (every > 0) spec.mutable_validation()->set_every_steps(every);
    Records records;
    results.push_back(Train(spec, &records));
    EXPECT_EQ(records.all[0].validation.measured, every > 0);
  }
  EXPECT_EQ(results[1].parameters_sha256, results[0].parameters_sha256);
  EXPECT_EQ(results[1].validation.loss, results[0].validation.loss);
}

// While training dropout draws other units on every step, and batch norm takes the mean and variance of its batch for
// which it would have the start values 0 and 1 here. With a rate at which nothing is learnt, and statistics that do not
// move, a judging is the same on every step only if neither happens.
TEST(TrainerTest, ValidationIsNotInTrainingMode) {
  v1::JobSpec spec = Spec(8, 4);
  *spec.mutable_model() = gradwatch::testing::ParseModel(R"(
    layers { dense { units: 16 } }
    layers { dropout { probability: 0.5 } }
    layers { dense { units: 2 } }
    layers { batch_norm { momentum: 1e-30 epsilon: 1e-30 } }
    loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })");
  spec.mutable_optimizer()->set_learning_rate(1e-30);
  spec.mutable_validation()->set_examples(16);
  spec.mutable_validation()->set_every_steps(1);
  Records records, plain;
  Train(spec, &records);
  for (const StepRecord& record : records.all) {
    EXPECT_EQ(record.validation.loss, records.all[0].validation.loss) << record.step;
  }
  // Without the two layers, which do nothing while judging.
  spec.mutable_model()->mutable_layers()->DeleteSubrange(3, 1);
  spec.mutable_model()->mutable_layers()->DeleteSubrange(1, 1);
  Train(spec, &plain);
  EXPECT_NEAR(plain.all[0].validation.loss, records.all[0].validation.loss, 1e-6);
}

TEST(TrainerTest, LearnsWhatIsValidated) {
  v1::JobSpec spec = Spec(32, 400);
  spec.mutable_data()->clear_spirals();
  spec.mutable_data()->mutable_gaussian_clusters()->set_classes(2);
  spec.mutable_data()->mutable_gaussian_clusters()->set_features(6);
  spec.mutable_data()->mutable_gaussian_clusters()->set_spread(3);
  spec.mutable_validation()->set_examples(320);
  Records records;
  const TrainResult result = Train(spec, &records);
  EXPECT_GT(result.validation.correct, 0.95 * static_cast<double>(result.validation.targets));
}

// On the step of a reset both moments are empty: every parameter moves by (1 - beta1) / sqrt(1 - beta2) of Adam's own
// step there, times a hundredth of the rate, whatever its gradient.
TEST(TrainerTest, SpamResetsTheMomentsOfAdam) {
  v1::JobSpec spec = Spec(24, 100);
  spec.mutable_optimizer()->set_method(v1::OPTIMIZER_METHOD_ADAM);
  spec.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_SPAM);
  spec.mutable_controls()->mutable_clip()->mutable_spam()->set_reset_interval(40);
  spec.mutable_controls()->mutable_clip()->mutable_spam()->set_warmup_steps(10);
  Records records;
  Train(spec, &records);
  const double sizes[] = {16, 8, 16, 2};
  for (int t = 1; t <= 100; ++t) {
    const StepRecord& record = records.all[t - 1];
    const bool reset = t % 40 == 0;
    EXPECT_EQ(record.clip.moments_reset, reset) << t;
    const int since = t % 40;
    const double scale = t < 40 || since > 10 ? 1 : 1 - 0.99 * (1 + std::cos(std::acos(-1.0) * since / 11)) / 2;
    EXPECT_NEAR(record.learning_rate, 0.1 * scale, 1e-12) << t;
    if (!reset) continue;
    const double move = 0.1 / (1 - std::pow(0.9, t)) / std::sqrt(0.001 / (1 - std::pow(0.999, t)));
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(record.tensors[i].update_norm, 0.001 * move * std::sqrt(sizes[i]), 1e-5 * std::sqrt(sizes[i])) << t;
    }
  }
}

// How much is measured never changes what is learnt.
TEST(TrainerTest, ParametersAreTheSameAtEveryLevelOfStatistics) {
  std::vector<std::string> digests;
  for (const auto level : {v1::STATISTICS_LEVEL_NONE, v1::STATISTICS_LEVEL_NORM, v1::STATISTICS_LEVEL_FULL}) {
    v1::JobSpec spec = Spec(8, 50);
    spec.mutable_controls()->set_statistics(level);
    spec.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    spec.mutable_controls()->mutable_clip()->set_threshold(0.1);
    Records records;
    digests.push_back(Train(spec, &records).parameters_sha256);
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_EQ(digests[0], digests[2]);
}

// Nor does how many threads share the work.
TEST(TrainerTest, ParametersAreTheSameOnAnyNumberOfThreads) {
  std::vector<std::string> digests;
  for (const int threads : {1, 2, 3}) {
    v1::JobSpec spec = Spec(64, 10);  // large enough to be shared
    spec.mutable_data()->mutable_gaussian_clusters()->set_classes(2);
    spec.mutable_data()->mutable_gaussian_clusters()->set_features(300);
    spec.mutable_model()->mutable_layers(0)->mutable_dense()->set_units(3000);
    spec.mutable_controls()->set_gradient_cosine(true);
    spec.set_threads(threads);
    Records records;
    digests.push_back(Train(spec, &records).parameters_sha256);
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_EQ(digests[0], digests[2]);
}

// Nor does what is measured on request.
TEST(TrainerTest, ParametersAreTheSameWithEverythingMeasured) {
  std::vector<std::string> digests;
  for (const bool everything : {false, true}) {
    v1::JobSpec spec = Spec(8, 50);
    spec.set_accumulation(2);
    spec.mutable_optimizer()->set_momentum(0.9);
    spec.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE);
    spec.mutable_controls()->mutable_clip()->set_threshold(0.01);
    spec.mutable_controls()->set_statistics(everything ? v1::STATISTICS_LEVEL_FULL : v1::STATISTICS_LEVEL_NONE);
    spec.mutable_controls()->set_gradient_cosine(everything);
    spec.mutable_controls()->set_layer_statistics(everything);
    Records records;
    digests.push_back(Train(spec, &records).parameters_sha256);
    EXPECT_EQ(records.all.back().layers.size(), everything ? 3u : 0u);
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST(TrainerTest, CosinesAreThereFromTheSecondStepOn) {
  v1::JobSpec spec = Spec(8, 3);
  spec.mutable_controls()->set_gradient_cosine(true);
  Records records;
  Train(spec, &records);
  EXPECT_TRUE(std::isnan(records.all[0].cosine_with_last));
  for (const int step : {1, 2}) {
    EXPECT_LE(std::fabs(records.all[step].cosine_with_last), 1);
    for (const TensorStatistics& tensor : records.all[step].tensors) EXPECT_LE(std::fabs(tensor.cosine_with_last), 1);
  }
}

TEST(TrainerTest, ASkippedStepHasWeightsButNoUpdateAndNoAngleAfterIt) {
  v1::JobSpec spec = Spec(8, 4);
  spec.mutable_controls()->set_gradient_cosine(true);
  spec.mutable_data()->mutable_bad_batch()->set_batch(1);
  spec.mutable_data()->mutable_bad_batch()->set_scale(3e38);
  spec.mutable_model()->mutable_layers(0)->mutable_dense()->mutable_weight_init()->set_gain(100);  // infinite products
  spec.mutable_model()->mutable_layers(1)->mutable_activation()->set_function(v1::ACTIVATION_FUNCTION_RELU);
  Records records;
  Train(spec, &records);
  ASSERT_EQ(records.all[1].clip.action, v1::ClipOutcome::ACTION_SKIPPED);
  for (size_t i = 0; i < records.all[0].tensors.size(); ++i) {
    EXPECT_EQ(records.all[1].tensors[i].update_norm, 0);
    // The skipped step has the weights of the step after it.
    EXPECT_DOUBLE_EQ(records.all[1].tensors[i].weight_norm, records.all[2].tensors[i].weight_norm);
    EXPECT_GT(records.all[2].tensors[i].update_norm, 0);
  }
  EXPECT_TRUE(std::isnan(records.all[2].cosine_with_last));
  EXPECT_FALSE(std::isnan(records.all[3].cosine_with_last));
}

TEST(TrainerTest, LayersAreMeasuredOnTheStepsThatAreReported) {
  v1::JobSpec spec = Spec(8, 5);
  spec.mutable_controls()->set_layer_statistics(true);
  spec.mutable_controls()->set_report_every(2);
  Records records;
  Train(spec, &records);
  EXPECT_GT(records.all[0].layers[1].output_variance, 0);
  EXPECT_EQ(records.all[1].layers[1].output_variance, records.all[0].layers[1].output_variance);
  EXPECT_NE(records.all[2].layers[1].output_variance, records.all[0].layers[1].output_variance);
  EXPECT_EQ(records.all[2].layers[1].saturated, 0);
}

ControlEdit Every(int64_t edit, int report_every, std::optional<int64_t> at_step = std::nullopt) {
  ControlEdit asked = {.edit = edit, .paths = {"report_every"}, .at_step = at_step};
  asked.values.set_report_every(report_every);
  return asked;
}

// All that is told, in its order, as text. What an operator does after it was told something is in `reactions`.
class Story final : public Observer {
 public:
  using Reaction = std::pair<std::string, std::function<void()>>;

  void OnStep(const StepRecord& record) override {
    Tell(absl::StrCat("step ", record.step, " of revision ", record.control_revision));
  }
  void OnAlert(const v1::Alert& /*alert*/) override {}
  void OnEdit(const EditOutcome& outcome) override {
    Tell(outcome.applied ? absl::StrCat("edit ", outcome.edit, " is ", outcome.revision, " from ", outcome.step)
                         : absl::StrCat("edit ", outcome.edit, " never: ", outcome.reason));
  }
  void OnPaused(int64_t steps_done) override { Tell(absl::StrCat("paused after ", steps_done)); }
  void OnResumed(int64_t steps_done) override { Tell(absl::StrCat("resumed after ", steps_done)); }

  std::vector<std::string> told;
  std::vector<Reaction> reactions;

 private:
  void Tell(std::string text) {
    told.push_back(std::move(text));
    for (const Reaction& reaction : reactions) {
      if (reaction.first == told.back()) reaction.second();
    }
  }
};

std::vector<std::string> Tell(const v1::JobSpec& spec, LiveControls* live, std::vector<Story::Reaction> reactions) {
  const FakeClock clock;
  const auto trainer = *Trainer::Create(spec, DataRoots(), AlertIdentity(), &clock);
  Story story;
  story.reactions = std::move(reactions);
  trainer->Run(*live, story);
  return story.told;
}

v1::JobSpec ResolvedSpec(int64_t steps) { return ValidateJob(Spec(8, steps), DataRoots(), SpecLimits())->spec; }

TEST(TrainerTest, EveryEditIsToldWithTheStepThatUsesItFirst) {
  const v1::JobSpec spec = ResolvedSpec(5);
  LiveControls live({.controls = spec.controls()});
  live.Add(Every(3, 2, 3));
  live.Add(Every(4, 3, 1));
  live.Add(Every(5, 4, 3));
  live.Add(Every(6, 4, 9));
  EXPECT_THAT(Tell(spec, &live, {{"step 1 of revision 2", [&] { live.Add(Every(7, 5)), live.Withdraw(6); }}}),
              ElementsAre("step 0 of revision 1", "edit 4 is 2 from 1", "step 1 of revision 2",
                          "edit 6 never: ", "edit 7 is 3 from 2", "step 2 of revision 3", "edit 3 is 4 from 3",
                          "edit 5 is 5 from 3", "step 3 of revision 5", "step 4 of revision 5"));
}

// In a pause all that is due for the next step is applied and told at once, and the run goes on waiting.
TEST(TrainerTest, EditsOfAPausedRunAreToldAtOnceAndHoldFromItsNextStep) {
  const v1::JobSpec spec = ResolvedSpec(4);
  LiveControls live({.controls = spec.controls()});
  live.Add(Every(1, 2, 3));
  const auto command = [&live](LiveControls::Command what) { return [&live, what] { live.SetCommand(what); }; };
  EXPECT_THAT(Tell(spec, &live,
                   {{"step 1 of revision 1", command(LiveControls::Command::kPause)},
                    {"paused after 2", [&] { live.Add(Every(2, 5)); }},
                    {"edit 2 is 2 from 2", [&] { live.Add(Every(3, 6, 2)), live.Add(Every(4, 7, 3)); }},
                    {"edit 3 is 3 from 2", [&] { live.Withdraw(1); }},
                    {"edit 1 never: ", command(LiveControls::Command::kRun)}}),
              ElementsAre("step 0 of revision 1", "step 1 of revision 1", "paused after 2", "edit 2 is 2 from 2",
                          "edit 3 is 3 from 2", "edit 1 never: ", "resumed after 2", "step 2 of revision 3",
                          "edit 4 is 4 from 3", "step 3 of revision 4"));
}

TEST(TrainerTest, AStopInAPauseLeavesWhatWaits) {
  const v1::JobSpec spec = ResolvedSpec(4);
  LiveControls live({.controls = spec.controls()});
  live.SetCommand(LiveControls::Command::kPause);
  EXPECT_THAT(
      Tell(spec, &live,
           {{"paused after 0", [&] { live.Add(Every(1, 5)); }},
            {"edit 1 is 2 from 0", [&] { live.SetCommand(LiveControls::Command::kStop), live.Add(Every(2, 6)); }}}),
      ElementsAre("paused after 0", "edit 1 is 2 from 0"));
}

TEST(TrainerTest, AnEditThatDoesNotFitTheRunIsDropped) {
  const v1::JobSpec spec = ResolvedSpec(2);
  LiveControls live({.controls = spec.controls()});
  ControlEdit spam = {.edit = 1, .paths = {"clip.mode"}};
  spam.values.mutable_clip()->set_mode(v1::CLIP_MODE_SPAM);
  ControlEdit nowhere = {.edit = 2, .paths = {"clip.overrides.`rnn*`"}};
  v1::TensorClip* limit = nowhere.values.mutable_clip()->add_overrides();
  limit->set_tensors("rnn*");
  limit->set_mode(v1::CLIP_MODE_NONE);
  live.Add(spam);
  live.Add(nowhere);
  live.Add(Every(3, 2));
  const std::vector<std::string> told = Tell(spec, &live, {});
  ASSERT_EQ(told.size(), 5u);
  EXPECT_THAT(told[0], HasSubstr("edit 1 never: clip.mode: SPAM needs optimizer ADAM or ADAMW"));
  EXPECT_THAT(told[1], HasSubstr("edit 2 never: clip.overrides[0].tensors: \"rnn*\" matches none of the 4 tensors"));
  EXPECT_EQ(told[2], "edit 3 is 2 from 0");
  EXPECT_EQ(told[3], "step 0 of revision 2");
}

// Tells which batches are asked for.
class ToldSource final : public DataSource {
 public:
  ToldSource(std::unique_ptr<DataSource> source, std::vector<std::string>* told)
      : source_(std::move(source)), told_(told) {}
  const DataShape& shape() const override { return source_->shape(); }
  int64_t examples() const override { return source_->examples(); }
  int64_t bytes() const override { return source_->bytes(); }
  Batch Fill(int64_t step) override {
    told_->push_back(absl::StrCat("batch ", step));
    return source_->Fill(step);
  }
  Batch FillHeldOut(int64_t index) override {
    told_->push_back("validation");
    return source_->FillHeldOut(index);
  }

 private:
  const std::unique_ptr<DataSource> source_;
  std::vector<std::string>* const told_;
};

// A validation may take minutes, and the processor may be taken away at any moment.
TEST(TrainerTest, AnAlertIsToldBeforeAllElseOfItsStep) {
  class Order final : public Observer {
   public:
    explicit Order(std::vector<std::string>* told) : told_(told) {}
    void OnStep(const StepRecord& record) override { told_->push_back(absl::StrCat("step ", record.step)); }
    void OnAlert(const v1::Alert& alert) override {
      told_->push_back(
          absl::StrCat(alert.rule(), " ", v1::AlertState_Name(alert.state()).substr(12), " ", alert.step()));
    }
    void OnEdit(const EditOutcome& /*outcome*/) override {}
    void OnPaused(int64_t /*steps_done*/) override {}
    void OnResumed(int64_t /*steps_done*/) override {}

   private:
    std::vector<std::string>* const told_;
  };
  v1::JobSpec spec = Spec(8, 2);
  spec.mutable_validation()->set_examples(8);
  spec.mutable_rules()->set_preset("none");
  spec.mutable_validation()->set_every_steps(1);
  v1::Rule* norm = spec.mutable_rules()->add_rules();
  norm->set_name("norm");
  norm->mutable_norm_limit()->set_max_norm(1e-9);
  v1::Rule* update = spec.mutable_rules()->add_rules();
  update->set_name("update");
  update->mutable_update_ratio()->set_max_ratio(1e-9);
  spec = ValidateJob(spec, DataRoots(), SpecLimits())->spec;
  std::vector<std::string> told;
  auto data = OpenData(spec.data(), spec.seed(), DataRoots(), spec.validation().examples());
  ASSERT_THAT(data, IsOk());
  const FakeClock clock;
  const auto trainer =
      *Trainer::Create(spec, std::make_unique<ToldSource>(*std::move(data), &told), AlertIdentity(), &clock);
  LiveControls live({.controls = spec.controls()});
  Order order(&told);
  trainer->Run(live, order);
  // What the first batch says of the inputs is known before the first step.
  EXPECT_THAT(told, ElementsAre("batch 0", "batch 0", "norm FIRING 0", "update FIRING 0", "validation", "step 0", "batch 1",
                                "validation", "step 1", "norm RESOLVED 1", "update RESOLVED 1"));
}

// Told as text: what fires and ends, with its step, among edits and steps.
class AlertStory final : public Observer {
 public:
  void OnStep(const StepRecord& record) override { told.push_back(absl::StrCat("step ", record.step)); }
  void OnAlert(const v1::Alert& alert) override {
    told.push_back(absl::StrCat(alert.rule(), " ", v1::AlertState_Name(alert.state()).substr(12), " ", alert.step()));
    summaries.push_back(alert.summary());
  }
  void OnEdit(const EditOutcome& outcome) override {
    told.push_back(absl::StrCat("edit ", outcome.edit, " from ", outcome.step));
  }
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  std::vector<std::string> told;
  std::vector<std::string> summaries;
};

// No rule but one about norms above `limit`, which all of these runs exceed if it is tiny.
v1::RuleSet NormRule(const std::string& name, double limit) {
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::Rule* const rule = rules.add_rules();
  rule->set_name(name);
  rule->mutable_norm_limit()->set_max_norm(limit);
  return rules;
}

ControlEdit RulesEdit(int64_t edit, const v1::RuleSet& rules, int64_t at_step) {
  ControlEdit asked = {.edit = edit, .paths = {"rules"}, .at_step = at_step};
  *asked.values.mutable_rules() = rules;
  return asked;
}

AlertStory TellAlerts(const v1::JobSpec& spec, LiveControls* live) {
  const FakeClock clock;
  AlertStory story;
  (*Trainer::Create(spec, DataRoots(), AlertIdentity(), &clock))->Run(*live, story);
  return story;
}

TEST(TrainerTest, OtherRulesJudgeFromExactlyTheirStep) {
  v1::JobSpec unresolved = Spec(8, 6);
  *unresolved.mutable_rules() = NormRule("loose", 1e9);
  const v1::JobSpec spec = ValidateJob(unresolved, DataRoots(), SpecLimits())->spec;
  LiveControls live({.controls = spec.controls()});
  live.Add(RulesEdit(1, NormRule("tight", 1e-9), 2));
  live.Add(RulesEdit(2, NormRule("loose", 1e9), 4));
  const AlertStory story = TellAlerts(spec, &live);
  EXPECT_THAT(story.told, ElementsAre("step 0", "step 1", "edit 1 from 2", "tight FIRING 2", "step 2", "step 3",
                                      "edit 2 from 4", "tight RESOLVED 4", "step 4", "step 5"));
  ASSERT_EQ(story.summaries.size(), 2u);
  EXPECT_THAT(story.summaries[1], HasSubstr("its rule was taken out"));
}

TEST(TrainerTest, ARuleThatStaysGoesOnWithItsEpisode) {
  v1::JobSpec unresolved = Spec(8, 4);
  *unresolved.mutable_rules() = NormRule("tight", 1e-9);
  const v1::JobSpec spec = ValidateJob(unresolved, DataRoots(), SpecLimits())->spec;
  LiveControls live({.controls = spec.controls()});
  v1::RuleSet more = NormRule("tight", 1e-9);
  *more.add_rules() = NormRule("too", 1e-9).rules(0);
  live.Add(RulesEdit(1, NormRule("tight", 1e-9), 1));  // the same
  live.Add(RulesEdit(2, more, 2));
  EXPECT_THAT(TellAlerts(spec, &live).told,
              ElementsAre("tight FIRING 0", "step 0", "edit 1 from 1", "step 1", "edit 2 from 2", "too FIRING 2",
                          "step 2", "step 3", "tight RESOLVED 3", "too RESOLVED 3"));
}

// A trainer that takes over a job finds the rules of its controls, not those of its spec.
TEST(TrainerTest, RulesOfTheFirstControlsHoldFromTheFirstStep) {
  v1::JobSpec unresolved = Spec(8, 1);
  *unresolved.mutable_rules() = NormRule("loose", 1e9);
  const v1::JobSpec spec = ValidateJob(unresolved, DataRoots(), SpecLimits())->spec;
  ControlSnapshot snapshot = {.revision = 4, .controls = spec.controls()};
  *snapshot.controls.mutable_rules() = ResolveRules(NormRule("tight", 1e-9));
  LiveControls live(snapshot);
  EXPECT_THAT(TellAlerts(spec, &live).told, ElementsAre("tight FIRING 0", "step 0", "tight RESOLVED 0"));
}

// The clock is read twice a step; from the third step on nothing may have been taken from the heap.
TEST(TrainerTest, ASteadyStepTakesNoMemoryWithEverythingMeasured) {
  if (!gradwatch::testing::CountsAllocations()) GTEST_SKIP() << "this build does not count allocations";
  class Counts final : public Observer {
   public:
    void OnStep(const StepRecord& /*record*/) override { all.push_back(gradwatch::testing::AllocationCount()); }
    void OnAlert(const v1::Alert& /*alert*/) override {}
    void OnEdit(const EditOutcome& /*outcome*/) override {}
    void OnPaused(int64_t /*steps_done*/) override {}
    void OnResumed(int64_t /*steps_done*/) override {}
    std::vector<int64_t> all;
  };
  v1::JobSpec spec = Spec(8, 50);
  spec.mutable_controls()->set_gradient_cosine(true);
  spec.mutable_controls()->set_layer_statistics(true);
  Counts counts;
  counts.all.reserve(100);
  Train(spec, &counts);
  ASSERT_EQ(counts.all.size(), 50u);
  EXPECT_EQ(counts.all.back(), counts.all[2]);
}

}  // namespace
}  // namespace gradwatch::core
