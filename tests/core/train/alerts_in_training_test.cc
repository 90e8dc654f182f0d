// What alerts say of a run that really trains: nobody fills in the records by hand here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/core/train/train_harness.h"

namespace gradwatch::core {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Alerts final : public Observer {
 public:
  void OnStep(const StepRecord& /*record*/) override {}
  void OnAlert(const v1::Alert& alert) override { all_.push_back(alert); }
  void OnEdit(const EditOutcome& outcome) override { EXPECT_TRUE(outcome.applied) << outcome.reason; }
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  // The diagnosis of the rule's alert that fired on this step; the test fails if there is none.
  std::string DiagnosisOf(const std::string& rule, int64_t step) const {
    for (const v1::Alert& alert : all_) {
      const bool fired = alert.state() == v1::ALERT_STATE_FIRING && alert.step() == step;
      if (alert.rule() == rule && fired) return absl::StrJoin(alert.diagnosis(), "\n");
    }
    ADD_FAILURE() << rule << " has not fired on step " << step;
    return "";
  }

  // That of the rule's last alert; empty: there is none.
  std::string SummaryOf(const std::string& rule) const {
    std::string summary;
    for (const v1::Alert& alert : all_) {
      if (alert.rule() == rule) summary = alert.summary();
    }
    return summary;
  }

 private:
  std::vector<v1::Alert> all_;
};

// Weights of the last layer are so large that norms are above 1, as the advice of a limit asks for. Every step has a
// norm above the limits of two rules: "now" fires at once, "later" on the sixth step, of number 5.
v1::JobSpec Spec(const std::string& clip, const std::string& optimizer = "") {
  return ParseSpec(absl::StrCat(R"(
    steps: 8 seed: 3
    model {
      layers { dense { units: 8 } }
      layers { activation { function: ACTIVATION_FUNCTION_TANH } }
      layers { dense { units: 2 weight_init { gain: 50 } } }
      loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }
    }
    data { batch_size: 8 spirals {} }
    optimizer { learning_rate: 0.01 )",
                                optimizer, R"( }
    rules {
      rules { name: "now" norm_limit { max_norm: 1e-9 } }
      rules { name: "later" for_steps: 6 norm_limit { max_norm: 1e-9 } }
      rules { name: "first" tensors: "dense0.weight" norm_limit { max_norm: 1e-9 per_tensor: true } }
    }
    controls { clip { )",
                                clip, " } }"));
}

Alerts RunWith(const v1::JobSpec& spec, LiveControls* live) {
  Alerts alerts;
  const testing::FakeClock clock;
  const auto trainer = Trainer::Create(spec, DataRoots(), AlertIdentity{"job-1", "uid", 1}, &clock);
  EXPECT_THAT(trainer, testing::IsOk());
  if (!trainer.ok()) return alerts;
  EXPECT_EQ((*trainer)->Run(*live, alerts).state, v1::JOB_STATE_SUCCEEDED);
  return alerts;
}

Alerts RunWith(const v1::JobSpec& spec) {
  LiveControls live({.controls = spec.controls()});
  return RunWith(spec, &live);
}

TEST(AlertsInTrainingTest, TheFirstStepKnowsThatClippingIsOn) {
  const std::string diagnosis = RunWith(Spec("mode: CLIP_MODE_GLOBAL_NORM threshold: 0.25")).DiagnosisOf("now", 0);
  EXPECT_THAT(diagnosis, HasSubstr("Clipping is on: the global norm is at most 0.25."));
  EXPECT_THAT(diagnosis, Not(HasSubstr("clip set")));
}

TEST(AlertsInTrainingTest, TheFirstStepKnowsThatClippingIsOff) {
  const std::string diagnosis = RunWith(Spec("")).DiagnosisOf("now", 0);
  EXPECT_THAT(diagnosis, HasSubstr("gradwatch clip set job-1 --mode global_norm --max-norm 1"));
  EXPECT_THAT(diagnosis, Not(HasSubstr("Clipping is on")));
}

TEST(AlertsInTrainingTest, TheFirstStepAfterAChangeKnowsIt) {
  struct ChangeCase {
    const char* before;
    v1::ClipMode mode;
    double threshold;
    const char* says;
    const char* does_not;
  };
  const ChangeCase cases[] = {
      {"mode: CLIP_MODE_GLOBAL_NORM threshold: 0.25", v1::CLIP_MODE_GLOBAL_NORM, 0.75, "at most 0.75.", "0.25"},
      {"", v1::CLIP_MODE_VALUE, 0.75, "elements is at most 0.75 in magnitude", "clip set"},
      {"mode: CLIP_MODE_GLOBAL_NORM threshold: 0.25", v1::CLIP_MODE_NONE, 0, "clip set job-1", "Clipping is on"},
  };
  for (const ChangeCase& c : cases) {
    const v1::JobSpec spec = Spec(c.before);
    LiveControls live({.controls = spec.controls()});
    ControlEdit edit = {.edit = 1, .paths = {"clip.mode"}, .at_step = 5};
    edit.values.mutable_clip()->set_mode(c.mode);
    if (c.threshold > 0) {
      edit.values.mutable_clip()->set_threshold(c.threshold);
      edit.paths.push_back("clip.threshold");
    }
    live.Add(edit);
    const std::string diagnosis = RunWith(spec, &live).DiagnosisOf("later", 5);
    EXPECT_THAT(diagnosis, HasSubstr(c.says));
    EXPECT_THAT(diagnosis, Not(HasSubstr(c.does_not)));
  }
}

TEST(AlertsInTrainingTest, MultiplesAreNotToldAsNorms) {
  struct MultipleCase {
    const char* clip;
    const char* optimizer;
    const char* says;
  };
  const MultipleCase cases[] = {
      {"mode: CLIP_MODE_ADAGC adagc { lambda_abs: 0.5 lambda_rel: 1.25 }", "",
       "AdaGC, each tensor's norm is at most 1.25 times its own average, and in the warm-up the global norm at most "
       "0.5."},
      {"mode: CLIP_MODE_SPAM spam { theta: 400 }", "method: OPTIMIZER_METHOD_ADAM",
       "SPAM, an element's square is at most 400 times the optimizer's second moment of it"},
      {"mode: CLIP_MODE_ZCLIP zclip { max_norm: 0 }", "", "more than 2.5 deviations above its average is cut."},
      {"mode: CLIP_MODE_AUTOCLIP", "", "at most percentile 10 of the norms so far."},
      {"mode: CLIP_MODE_ADAPTIVE", "", "at most 0.01 times the norm of its weights."},
  };
  for (const MultipleCase& c : cases) {
    const Alerts alerts = RunWith(Spec(c.clip, c.optimizer));
    // The step of the first outcome, and one that comes after outcomes.
    for (const std::string& diagnosis : {alerts.DiagnosisOf("now", 0), alerts.DiagnosisOf("later", 5)}) {
      EXPECT_THAT(diagnosis, HasSubstr(c.says));
      EXPECT_THAT(diagnosis, Not(HasSubstr("threshold")));
      EXPECT_THAT(diagnosis, Not(HasSubstr("clip set")));
    }
  }
}

TEST(AlertsInTrainingTest, ATensorTakenOutOfClippingIsNotSaidToBeLimited) {
  const std::string all = "mode: CLIP_MODE_GLOBAL_NORM threshold: 0.25 ";
  const Alerts alerts = RunWith(Spec(all + "overrides { tensors: 'dense0.*' mode: CLIP_MODE_NONE }"));
  const std::string none = alerts.DiagnosisOf("first", 0);
  EXPECT_THAT(none, HasSubstr("An override takes dense0.weight out of clipping: nothing limits it."));
  EXPECT_THAT(none, HasSubstr("gradwatch clip set job-1 --tensors 'dense0.weight' --mode tensor_norm --max-norm 1"));
  EXPECT_THAT(none, Not(HasSubstr("Clipping is on")));
  const std::string own =
      RunWith(Spec(all + "overrides { tensors: 'dense0.*' mode: CLIP_MODE_VALUE threshold: 0.125 }"))
          .DiagnosisOf("first", 0);
  EXPECT_THAT(own, HasSubstr("Clipping is on for dense0.weight by itself: each of its elements is at most 0.125"));
  EXPECT_THAT(own, Not(HasSubstr("0.25")));
}

// Incomes among heights, as a table has them, and what a first batch shows of that.
TEST(AlertsInTrainingTest, AnInputThatIsNotScaledIsToldOnTheFirstStep) {
  std::string table = "height,income,label\n";
  for (int i = 0; i < 64; ++i) absl::StrAppend(&table, 1 + 0.01 * i, ",", 40'000 + 100 * i, ",", i % 2, "\n");
  for (const bool standardize : {false, true}) {
    const testing::TempDir folder;
    folder.Write("t.csv", table);
    const DataRoots roots = *DataRoots::Create({folder.path()});
    v1::JobSpec spec = ParseSpec(absl::StrCat(R"(
      steps: 3
      model {
        layers { dense { units: 8 } }
        layers { activation { function: ACTIVATION_FUNCTION_TANH } }
        layers { dense { units: 2 } }
        loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }
      }
      data {
        batch_size: 16
        csv { path: "t.csv" inputs: "height" inputs: "income" targets: "label" classes: 2 standardize: )",
                                              standardize ? "true" : "false", R"( }
      }
      optimizer { learning_rate: 0.001 })"),
                                 roots);
    Alerts alerts;
    const testing::FakeClock clock;
    const auto trainer = Trainer::Create(spec, roots, AlertIdentity{"job-1", "uid", 1}, &clock);
    ASSERT_THAT(trainer, testing::IsOk());
    LiveControls live({.controls = spec.controls()});
    (*trainer)->Run(live, alerts);
    EXPECT_EQ(alerts.SummaryOf("first_step").find("the input income is as large as 4") != std::string::npos,
              !standardize)
        << alerts.SummaryOf("first_step");
  }
}

}  // namespace
}  // namespace gradwatch::core
