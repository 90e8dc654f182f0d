// What a diagnosis says of clipping, of updates, of growth and of what came first, and how cures are told once.
#include "core/detect/diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/detect/told_lines.h"

namespace gradwatch::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const double kNaN = std::nan("");

// A run of healthy steps, to which the test adds one that is not.
class WatchedRun {
 public:
  explicit WatchedRun(std::vector<std::string> names, RunFacts facts = {}) : signals_(names, std::move(facts)) {
    record_.tensors.resize(names.size());
    record_.learning_rate = 0.5;
    Reset();
  }

  StepRecord& record() { return record_; }
  TensorStatistics& tensor(int i) { return record_.tensors[static_cast<size_t>(i)]; }
  void SetNorms(const std::vector<double>& norms) {
    double squares = 0;
    for (size_t i = 0; i < norms.size(); ++i) squares += norms[i] * norms[i];
    for (size_t i = 0; i < norms.size(); ++i) record_.tensors[i].l2_norm = norms[i];
    record_.grad_norm = std::sqrt(squares);
  }
  // Judges the gradients of the present step.
  const RunSignals& Begin() {
    signals_.BeginStep(record_);
    return signals_;
  }
  // Does the rest of it; the next one is healthy again.
  void End() {
    signals_.EndGradients(record_);
    signals_.ObserveUpdate(record_);
    signals_.EndUpdate(record_);
    ++record_.step;
    Reset();
  }
  void Steps(int count) {
    for (int i = 0; i < count; ++i) {
      Begin();
      End();
    }
  }
  v1::Alert LargeGradient(int tensor) {
    v1::Alert alert;
    ExplainLargeGradient(record_, tensor, Begin(), &alert);
    return alert;
  }
  v1::Alert Cures(int tensor, const std::string& job = "") {
    v1::Alert alert;
    alert.set_job_id(job);
    SuggestCures(record_, tensor, Begin(), &alert);
    return alert;
  }

 private:
  void Reset() {
    record_.loss = 1;
    SetNorms(std::vector<double>(record_.tensors.size(), 1));
    for (TensorStatistics& tensor : record_.tensors) {
      tensor.weight_norm = 10;
      tensor.update_norm = 0.01;
    }
  }

  RunSignals signals_;
  StepRecord record_;
};

std::string Lines(const v1::Alert& alert) { return absl::StrJoin(alert.diagnosis(), "\n"); }

struct ClipCase {
  v1::ClipMode mode;
  double number;
  double norm_limit;
  const char* words;
};

TEST(DiagnosisTest, EachModeOfClippingHasItsWords) {
  const ClipCase cases[] = {
      {v1::CLIP_MODE_GLOBAL_NORM, 2, kNaN, "Clipping is on: the global norm is at most 2."},
      {v1::CLIP_MODE_TENSOR_NORM, 2, kNaN, "Clipping is on: each tensor's norm is at most 2."},
      {v1::CLIP_MODE_VALUE, 0.5, kNaN, "Clipping is on: each of the elements is at most 0.5 in magnitude."},
      {v1::CLIP_MODE_ADAPTIVE, 0.01, kNaN,
       "Clipping is on: each of the units has a gradient of at most 0.01 times the norm of its weights."},
      {v1::CLIP_MODE_AUTOCLIP, 10, kNaN,
       "Clipping is on: AutoClip, the global norm is at most percentile 10 of the norms so far."},
      {v1::CLIP_MODE_ZCLIP, 2.5, 1,
       "Clipping is on: ZClip, a global norm more than 2.5 deviations above its average is cut, and any above 1."},
      {v1::CLIP_MODE_ZCLIP, 2.5, kNaN,
       "Clipping is on: ZClip, a global norm more than 2.5 deviations above its average is cut."},
      {v1::CLIP_MODE_ADAGC, 1.05, 1,
       "Clipping is on: AdaGC, each tensor's norm is at most 1.05 times its own average, and in the warm-up the global "
       "norm at most 1."},
      {v1::CLIP_MODE_SPAM, 5000, kNaN,
       "Clipping is on: SPAM, an element's square is at most 5e+03 times the optimizer's second moment of it, but not "
       "in "
       "the first steps after the start or a reset."},
  };
  for (const ClipCase& c : cases) {
    WatchedRun run({"a.weight", "b.weight"});
    run.record().clip_in_force.shared = {c.number, c.mode, false};
    run.record().clip_in_force.norm_limit = c.norm_limit;
    for (const int tensor : {-1, 0}) {
      const v1::Alert alert = run.Cures(tensor);
      ASSERT_GE(alert.diagnosis_size(), 1);
      EXPECT_EQ(alert.diagnosis(0), c.words);
      EXPECT_THAT(Lines(alert), Not(HasSubstr("clip set"))) << "it is on";
    }
  }
}

TEST(DiagnosisTest, ClippingIsAdvisedWithItsCommandWhereItIsOff) {
  WatchedRun run({"a.weight", "b.weight"});
  EXPECT_THAT(
      run.Cures(0, "mnist-7").diagnosis(),
      ElementsAre("Try clipping the global norm, for a start at 1: gradwatch clip set mnist-7 --mode global_norm "
                  "--max-norm 1"))
      << "on step 0 no rate has done anything";
  run.Steps(30);
  run.SetNorms({30, 40});
  const v1::Alert alert = run.Cures(-1);
  // Two tensors of norm 1: 5 times the root of 2.
  EXPECT_EQ(
      alert.diagnosis(0),
      "Try clipping the global norm at 7.1, 5 times its median of 1.41: gradwatch clip set JOB --mode global_norm "
      "--max-norm 7.1");
  EXPECT_THAT(alert.diagnosis(1), HasSubstr("0.05 instead of 0.5: gradwatch adjust JOB --lr-scale 0.1"));
}

TEST(DiagnosisTest, ATensorWithAnOverrideIsToldItsOwnLimit) {
  WatchedRun run({"a.weight", "b.weight", "it's"});
  ClipInForce& in_force = run.record().clip_in_force;
  in_force.shared = {1, v1::CLIP_MODE_GLOBAL_NORM, false};
  in_force.tensors = {in_force.shared, {kNaN, v1::CLIP_MODE_NONE, true}, {kNaN, v1::CLIP_MODE_NONE, true}};
  run.Steps(30);
  run.SetNorms({100, 100, 100});
  EXPECT_THAT(run.Cures(0).diagnosis(0), StartsWith("Clipping is on: the global norm"));
  const v1::Alert none = run.Cures(1);
  EXPECT_EQ(none.diagnosis(0), "An override takes b.weight out of clipping: nothing limits it.");
  EXPECT_EQ(none.diagnosis(1),
            "Try limiting b.weight by itself at 8.7, 5 times the global norm's median of 1.73: gradwatch clip set JOB "
            "--tensors 'b.weight' --mode tensor_norm --max-norm 8.7");
  EXPECT_THAT(Lines(run.Cures(2)), Not(HasSubstr("clip set"))) << "a name that ends its own quotation";
  in_force.tensors[1] = {3, v1::CLIP_MODE_TENSOR_NORM, true};
  EXPECT_EQ(run.Cures(1).diagnosis(0), "Clipping is on for b.weight by itself: its norm is at most 3.");
  in_force.shared = {kNaN, v1::CLIP_MODE_NONE, false};
  in_force.tensors.assign(3, {3, v1::CLIP_MODE_TENSOR_NORM, true});
  EXPECT_EQ(run.Cures(-1).diagnosis(0), "Clipping is on: each tensor has a limit of its own.");
}

struct UpdateCase {
  int steps;     // before the one with this update
  double ratio;  // of an update to its weights; usually 0.001
  double norm;   // of that step's gradients
  const char* words;
};

TEST(DiagnosisTest, TheRateIsBlamedForAnUnusualUpdateOnly) {
  const UpdateCase cases[] = {
      {40, 0.2, 1,
       "The update of step 40 changed a.weight by 0.2 of its norm, 200 times what the largest one usually "
       "is, 0.001: the learning rate 0.5 is likely too high."},
      {40, 0.2, 50,
       "The update of step 40 changed a.weight by 0.2 of its norm, 200 times what the largest one usually "
       "is, 0.001: its gradient norm was 50 times the usual one."},
      {40, 0.0025, 1, ""},  // harms nobody
      {40, 0.001, 1, ""},
      {3, 0.2, 1,
       "The update of step 3 changed a.weight by 0.2 of its norm, and about 0.001 is common: the learning "
       "rate 0.5 is likely too high."},
      {3, 0.05, 1, ""},
  };
  for (const UpdateCase& c : cases) {
    WatchedRun run({"a.weight"});
    run.Steps(c.steps);
    run.SetNorms({c.norm});
    run.tensor(0).update_norm = 10 * c.ratio;
    run.Steps(1);
    v1::Alert alert;
    EXPECT_EQ(ExplainLastUpdate(run.record(), run.Begin(), &alert), *c.words != 0);
    EXPECT_EQ(Lines(alert), c.words);
    run.SetNorms({100});  // so that clipping is the likelier cure where the rate is not to blame
    EXPECT_EQ(Lines(run.Cures(0)).find("Try a lower learning rate, ") == std::string::npos, *c.words == 0);
  }
}

// What is large for one network is usual for another.
TEST(DiagnosisTest, AnUpdateThatIsAsUsualIsNotBlamed) {
  WatchedRun run({"a.weight"});
  for (int step = 0; step < 40; ++step) {
    run.tensor(0).update_norm = 0.5;
    run.Steps(1);
  }
  v1::Alert alert;
  EXPECT_FALSE(ExplainLastUpdate(run.record(), run.Begin(), &alert));
}

TEST(DiagnosisTest, AnUpdateOfLongAgoIsNotToldAsTheLastOne) {
  for (const auto& [unmeasured, words] :
       std::vector<std::pair<int, std::string>>{{0, "The update of step 40 changed"},
                                                {5, "The update of step 40, the last one that was measured, changed"},
                                                {500, ""}}) {
    WatchedRun run({"a.weight"});
    run.Steps(40);
    run.tensor(0).update_norm = 2;
    run.Steps(1);
    run.record().level = v1::STATISTICS_LEVEL_NORM;
    run.Steps(unmeasured);
    v1::Alert alert;
    EXPECT_EQ(ExplainLastUpdate(run.record(), run.Begin(), &alert), !words.empty());
    EXPECT_THAT(Lines(alert), StartsWith(words));
    if (unmeasured < 500) continue;
    run.SetNorms({100});
    EXPECT_THAT(Lines(run.LargeGradient(-1)), HasSubstr("the update before this step was not measured"));
  }
}

TEST(DiagnosisTest, GrowthIsOfWeightsOfOneKind) {
  const std::vector<std::string> mixed = {"embedding0.weight", "rnn1.weight_ih",     "rnn1.weight_hh",
                                          "dense2.weight",     "layer_norm3.weight", "dense4.weight"};
  WatchedRun run(mixed);
  run.SetNorms({1e6, 1e5, 1e4, 1e3, 1e2, 1});
  EXPECT_THAT(Lines(run.LargeGradient(-1)), Not(HasSubstr("grow"))) << "two of a kind are no series";

  WatchedRun deep({"dense0.weight", "layer_norm1.weight", "dense2.weight", "dense10.weight", "dense12.weight"});
  deep.SetNorms({1000, 1e-3, 100, 10, 1});
  EXPECT_THAT(
      Lines(deep.LargeGradient(-1)),
      HasSubstr("seems to grow towards the input: 1e+03 times from dense12.weight to dense0.weight, some 10 times "
                "a layer, by the norms of 4 weights"));
  EXPECT_THAT(
      Lines(deep.Cures(-1)),
      HasSubstr("Try a start from weights that are 10 times smaller (gain in weight_init), so that no layer makes "
                "the gradient larger, or residual blocks."));
  deep.SetNorms({1000, 1, 1, 10, 1});
  EXPECT_THAT(Lines(deep.LargeGradient(-1)), Not(HasSubstr("grow"))) << "one large weight is no growth";
}

// A chaotic network: its layers differ by more than what each adds, and the functions between them take back a part.
TEST(DiagnosisTest, GrowthThroughDepthIsToldWhereItsTrendIsSignificantAndNoBatchIsBlamed) {
  for (const bool trend : {true, false}) {
    std::vector<std::string> names;
    std::vector<double> norms;
    for (int i = 0; i < 12; ++i) {
      names.push_back(absl::StrCat("dense", i, ".weight"));
      const double level = trend ? std::pow(1.7, 11 - i) : i == 0 ? 400 : 1;
      norms.push_back(level * (i % 2 == 0 ? 1 : 3));
    }
    WatchedRun run(names);
    run.Steps(40);
    run.SetNorms(norms);
    const std::string lines = Lines(run.LargeGradient(0));
    EXPECT_EQ(lines.find("seems to grow towards the input") != std::string::npos, trend) << lines;
    EXPECT_THAT(lines, Not(HasSubstr(trend ? "batch" : "grow")));
    EXPECT_EQ(Lines(run.Cures(0)).find("residual blocks") != std::string::npos, trend);
  }
}

TEST(DiagnosisTest, GrowthIsOfTheBackwardSignalWhereItIsMeasured) {
  WatchedRun run({"dense0.weight", "dense1.weight", "dense2.weight"});
  run.SetNorms({1000, 100, 10});  // an estimate would find something
  std::vector<LayerStatistics>& layers = run.record().layers;
  layers.resize(4);
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].has_backward = true;
    layers[i].backward_norm = 1;
  }
  EXPECT_THAT(Lines(run.LargeGradient(-1)), Not(HasSubstr("grow")));
  for (size_t i = 0; i < layers.size(); ++i) layers[i].backward_norm = std::pow(4.0, 3.0 - static_cast<double>(i));
  EXPECT_THAT(Lines(run.LargeGradient(-1)),
              HasSubstr("as measured at 4 layers, grows towards the input: 64 times in all, 4 times a layer"));
  run.record().report_tensors = false;  // of an older step
  EXPECT_THAT(Lines(run.LargeGradient(-1)), HasSubstr("seems to grow"));
}

TEST(DiagnosisTest, SaysSinceWhenHowFastAndWhatCameFirst) {
  WatchedRun run({"a.weight"});
  run.Steps(40);
  v1::Alert calm;
  EXPECT_EQ(ExplainRise(run.record(), run.Begin(), &calm), 0);
  EXPECT_THAT(calm.diagnosis(), IsEmpty());
  run.End();
  // The update rises on step 41, the norm on step 43 and doubles from then on, the loss on step 44.
  const double norms[] = {1, 1, 4, 8}, losses[] = {1, 1, 1, 2};
  for (int i = 0; i < 4; ++i) {
    run.SetNorms({norms[i]});
    run.record().loss = losses[i];
    run.tensor(0).update_norm = 0.2;
    if (i < 3) run.Steps(1);
  }
  v1::Alert alert;
  EXPECT_EQ(ExplainRise(run.record(), run.Begin(), &alert), 4);
  EXPECT_EQ(Lines(alert),
            "The largest update has been above 3 times its usual 0.001 of its weights for 3 steps, 2.71 times more a "
            "step; the gradient norm has been above 3 times its usual 1 for 2 steps, 2.83 times more a step; the loss "
            "has been above 1.5 times its usual 1 for 1 step, 2 times more a step: the largest update rose first.");
}

TEST(DiagnosisTest, GrowthAStepIsAFactorOrAPercentage) {
  EXPECT_EQ(GrowthAStep(std::log(2.0)), "2 times more a step");
  EXPECT_EQ(GrowthAStep(std::log(1.5)), "50% more a step");
  EXPECT_EQ(GrowthAStep(std::log(1.003)), "0.3% more a step");
}

TEST(DiagnosisTest, ABatchIsNamedOnlyWhenNothingElseIsToBeSeen) {
  const std::vector<std::string> names = {"rnn0.weight_ih", "rnn0.weight_hh", "dense1.weight"};
  WatchedRun run(names);
  EXPECT_THAT(Lines(run.LargeGradient(-1)), HasSubstr("no update came before"));
  run.End();
  run.Steps(40);
  run.SetNorms({1000, 1000, 1000});
  EXPECT_THAT(Lines(run.LargeGradient(0)), HasSubstr("an unusual batch is likely"));
  run.End();
  run.SetNorms({1000, 1000, 1000});
  EXPECT_THAT(Lines(run.LargeGradient(0)), Not(HasSubstr("batch"))) << "the second in a row";
  run.SetNorms({1, 1000, 1});
  EXPECT_THAT(Lines(run.LargeGradient(1)), HasSubstr("100% of the squared gradient norm"));
  EXPECT_THAT(Lines(run.Cures(1)), HasSubstr("recurrent weights that are an orthogonal matrix of a gain of at most 1"));
}

// The summary names it as the largest.
TEST(DiagnosisTest, TheLargestTensorIsToldWithItsShareWhereItDoesNotDominate) {
  WatchedRun run({"a.weight", "b.bias", "c.weight_hh0"});
  run.Steps(40);
  run.SetNorms({600, 550, 550});
  const std::string lines = Lines(run.LargeGradient(0));
  EXPECT_THAT(lines, HasSubstr("a.weight holds 37% of the squared gradient norm, no more than the others together, and "
                               "no large update came before: an unusual batch is likely."));
  EXPECT_THAT(lines, Not(HasSubstr("No tensor")));
}

// What somebody reads of a rate and a command: "for a start 0.05 instead of 0.5: ... --lr-scale 0.1".
struct RateCure {
  double rate = 0;
  double scale = 0;
};

RateCure RateCureOf(const v1::Alert& alert) {
  RateCure cure;
  for (const std::string& line : alert.diagnosis()) {
    const size_t rate = line.find("for a start "), scale = line.find("--lr-scale ");
    if (rate == std::string::npos || scale == std::string::npos) continue;
    cure = {std::stod(line.substr(rate + 12)), std::stod(line.substr(scale + 11))};
  }
  return cure;
}

TEST(DiagnosisTest, TheCommandMakesTheRateThatTheSentenceNames) {
  for (const double scale : {1.0, 0.5, 0.013, 40.0, 1e-6}) {
    for (const double best_rate : {0.5, 0.02}) {
      WatchedRun run({"a.weight"});
      run.record().learning_rate = best_rate;
      run.Steps(30);
      run.record().learning_rate = 0.5;
      run.record().learning_rate_scale = scale;
      const RateCure cure = RateCureOf(run.Cures(0));
      const double set = 0.5 / scale;  // by the schedule alone
      EXPECT_NEAR(set * cure.scale / cure.rate, 1, 0.01) << scale;
      EXPECT_NEAR(cure.rate, best_rate == 0.5 ? 0.05 : best_rate, 1e-9);
    }
  }
}

TEST(DiagnosisTest, ARateThatWasRaisedSinceTheLossWasBestIsTheFirstCure) {
  WatchedRun run({"a.weight"});
  run.record().learning_rate = 0.02;
  run.Steps(40);
  run.SetNorms({100});
  run.record().learning_rate = 0.37;
  const v1::Alert raised = run.Cures(0, "spirals-3");
  EXPECT_THAT(
      raised.diagnosis(),
      ElementsAre("When the loss was best, at step 4, the learning rate was 0.02; it is 0.37 now.",
                  "Try a lower learning rate, for a start 0.02 instead of 0.37: gradwatch adjust spirals-3 --lr-scale "
                  "0.0541",
                  StartsWith("Try clipping the global norm at 5, ")));
  run.record().learning_rate = 0.029;
  EXPECT_THAT(run.Cures(0).diagnosis(),
              ElementsAre(StartsWith("Try clipping"), StartsWith("Try a lower learning rate if that does not help, ")));
}

// A limit of the norm does nothing about a rate; it is advised too where the norm has jumped besides.
TEST(DiagnosisTest, WhereTheRateIsToBlameItIsTheFirstCureAndALimitOneOnlyIfTheNormHasJumped) {
  const struct {
    int steps;     // before the update
    double ratio;  // of that update
    double norm;   // of the step after it
    bool clips;
  } cases[] = {
      {40, 0.2, 100, true}, {40, 0.2, 4, false}, {3, 0.2, 2, false}, {3, 0.2, 1000, true}, {3, 50, 30, false},
  };
  for (const auto& c : cases) {
    WatchedRun run({"a.weight"});
    run.Steps(c.steps);
    run.tensor(0).update_norm = 10 * c.ratio;
    run.Steps(1);
    run.SetNorms({c.norm});
    const v1::Alert alert = run.Cures(0);
    EXPECT_THAT(alert.diagnosis(0), StartsWith("Try a lower learning rate, for a start ")) << c.norm;
    EXPECT_EQ(Lines(alert).find("Try clipping") != std::string::npos, c.clips) << Lines(alert);
  }
}

// What first_step tells at step 0 is why a run breaks later.
TEST(DiagnosisTest, InputsThatWereOutOfScaleAreNamedFirst) {
  for (const double scale : {50'000.0, 99.0, kNaN}) {
    WatchedRun run({"a.weight"}, {.input_scale = scale, .largest_input = "income"});
    run.Steps(40);
    run.SetNorms({100});
    const RunSignals& signals = run.Begin();
    v1::Alert running, another;
    SuggestCures(run.record(), 0, signals, &running);
    SuggestLowerRateOfAnotherStart(run.record(), 0.1, signals, &another);
    for (const v1::Alert& alert : {running, another}) {
      const bool told = absl::StartsWith(
          alert.diagnosis(0), "The input income was as large as 5e+04 (root mean square) in the first batch: ");
      ASSERT_EQ(told, scale > 100) << Lines(alert);
      if (!told) continue;
      EXPECT_EQ(alert.diagnosis(1),
                "Try inputs of a size near 1 at another start; the columns of a table: gradwatch submit SPEC --set "
                "data.csv.standardize=true");
    }
    EXPECT_THAT(Lines(running), HasSubstr("gradwatch adjust JOB --lr-scale 0.1")) << "the rest is of the running job";
  }
}

TEST(DiagnosisTest, WeightsThatAreLostAreToldBeforeTheFirstCure) {
  for (const double ratio : {1.5, 0.5}) {
    WatchedRun run({"a.weight"});
    run.Steps(40);
    run.SetNorms({50});
    run.tensor(0).update_norm = 10 * ratio;
    run.Steps(1);
    run.SetNorms({100});
    const RunSignals& signals = run.Begin();
    const Weights weights = WeightsAfter(run.record(), signals);
    EXPECT_EQ(weights == Weights::kLost, ratio >= 1);
    v1::Alert alert;
    alert.add_diagnosis("Why.");
    SuggestCures(run.record(), 0, signals, &alert, weights);
    EXPECT_EQ(alert.diagnosis(1) ==
                  "What the weights had learnt is gone, and no change of the running job brings it back: start the job "
                  "again with these values in its spec.",
              ratio >= 1);
    EXPECT_THAT(Lines(alert), HasSubstr(ratio >= 1 ? "gradwatch submit SPEC" : "gradwatch clip set JOB"));
  }
}

TEST(DiagnosisTest, AThresholdIsNoMultipleOfTheNormsOfAnExplosion) {
  WatchedRun run({"a.weight"});
  run.Steps(40);
  for (int step = 0; step < 200; ++step) {
    run.record().loss = 10;
    run.SetNorms({1e6});
    run.Steps(1);
  }
  run.SetNorms({1e8});
  ASSERT_GT(run.Begin().usual_norm(), 1e5) << "the ruin is the usual by now";
  EXPECT_THAT(
      run.Cures(0).diagnosis(0),
      StartsWith("Try clipping the global norm at 5, 5 times its median of 1 when the loss was best, at step 4: "
                 "gradwatch clip set JOB --mode global_norm --max-norm 5"));
}

TEST(DiagnosisTest, ARunThatWasNeverWellHasNoMedianToGoBy) {
  WatchedRun run({"a.weight"});
  for (int step = 0; step < 40; ++step) {
    run.record().loss = std::pow(10, step);
    run.SetNorms({1e6});
    if (step < 39) run.Steps(1);
  }
  EXPECT_THAT(run.Cures(0).diagnosis(0), StartsWith("Try clipping the global norm, for a start at 1: "));
}

TEST(DiagnosisTest, NoThresholdIsAdvisedThatTheStepIsBelow) {
  const struct {
    int steps;
    double norm;
    const char* first;  // line
  } cases[] = {
      {40, 5.1, "Try clipping the global norm at 5, 5 times its median of 1: "},
      {40, 4.9, "Clipping would not have changed this step: its norm, 4.9, is within 5 times its median of 1."},
      {3, 1.1, "Try clipping the global norm, for a start at 1: "},
      {3, 0.9, "Try a lower learning rate, for a start 0.05 instead of 0.5: "},
  };
  for (const auto& c : cases) {
    WatchedRun run({"a.weight"});
    run.Steps(c.steps);
    run.SetNorms({c.norm});
    const v1::Alert alert = run.Cures(0);
    EXPECT_THAT(alert.diagnosis(0), StartsWith(c.first));
    const bool clips = alert.diagnosis(0).starts_with("Try clipping");
    EXPECT_EQ(Lines(alert).find("if that does not help") != std::string::npos, clips) << Lines(alert);
  }
}

// A limit does nothing to a gradient that is not finite; it may have done something to those before.
TEST(DiagnosisTest, ClippingIsAdvisedForABrokenStepOnlyIfTheNormsBeforeItWereLarge) {
  for (const bool grew : {false, true}) {
    WatchedRun run({"a.weight"});
    run.Steps(40);
    if (grew) run.SetNorms({1e4});
    run.Steps(1);
    run.record().nan_count = 1;
    const std::string lines = Lines(run.Cures(0));
    EXPECT_EQ(lines.find("Try clipping the global norm at 5, ") != std::string::npos, grew) << lines;
    EXPECT_THAT(lines, Not(HasSubstr("would not have changed")));
  }
  WatchedRun first({"a.weight"});
  first.record().nan_count = 1;
  EXPECT_THAT(first.Cures(0).diagnosis(), IsEmpty());
}

// The first alert of a rule of the job "j".
v1::Alert AlertWith(const std::string& rule, int64_t step, const std::vector<std::string>& lines,
                    v1::Severity severity = v1::SEVERITY_WARNING, const std::string& tensor = "") {
  v1::Alert alert;
  alert.set_job_id("j");
  alert.set_attempt(1);
  alert.set_episode(1);
  alert.set_rule(rule);
  alert.set_state(v1::ALERT_STATE_FIRING);
  alert.set_step(step);
  alert.set_severity(severity);
  alert.set_tensor(tensor);
  for (const std::string& line : lines) alert.add_diagnosis(line);
  return alert;
}

// What is left of an alert's lines.
std::vector<std::string> Tell(v1::Alert alert, ToldLines* told) {
  told->TellOnce(&alert);
  return {alert.diagnosis().begin(), alert.diagnosis().end()};
}

TEST(ToldLinesTest, EachIsToldOnceAStep) {
  ToldLines told;
  EXPECT_THAT(Tell(AlertWith("spike", 5, {"Why.", "Try this.", "Try that."}), &told),
              ElementsAre("Why.", "Try this.", "Try that."));
  EXPECT_THAT(Tell(AlertWith("jump", 5, {"Why else.", "Try that.", "Try more.", "Try this."}), &told),
              ElementsAre("Why else.", "Try more.", "Cures: see alert j/1/spike/1 of this step."));
  EXPECT_THAT(
      Tell(AlertWith("drift", 5, {"Why.", "Try more."}), &told),
      ElementsAre("More of why, and cures: see alert j/1/spike/1 of this step and alert j/1/jump/1 of this step."));
  EXPECT_THAT(Tell(AlertWith("spike", 5, {"Why.", "Try this."}), &told), ElementsAre("Why.", "Try this.")) << "its own";
}

// Losses, norms and updates of a run that breaks are told within a few steps, by rules of their own.
TEST(ToldLinesTest, AlertsOfOneFaultPointToTheFirst) {
  const std::string first = "Try a rate of 0.05: gradwatch adjust j --lr 1";
  ToldLines told;
  Tell(AlertWith("norm_growth", 100, {"a is recurrent.", "It grew.", first}), &told);
  const v1::Alert same_step = AlertWith("joint_growth", 100, {"a is recurrent.", "It grew."});
  EXPECT_THAT(Tell(same_step, &told),
              ElementsAre("It grew.", "More of why: see alert j/1/norm_growth/1 of this step."));
  EXPECT_THAT(
      Tell(AlertWith("loss_divergence", 108, {"It grew.", "Try a rate of 0.04: gradwatch adjust j --lr 1"}), &told),
      ElementsAre("It grew.", "Cures: see alert j/1/norm_growth/1 of step 100."));
  EXPECT_THAT(Tell(AlertWith("other", 110, {"Try a rate of 0.05: gradwatch adjust j --lr 0.1"}), &told),
              ElementsAre("Try a rate of 0.05: gradwatch adjust j --lr 0.1"))
      << "the rate was changed in between, and the command is another one";
  EXPECT_THAT(Tell(AlertWith("later", 121, {first}), &told), ElementsAre(first));
}

// The same words may be about another batch, or about other tensors.
TEST(ToldLinesTest, ACauseOfAnotherStepOrTensorIsAnotherOne) {
  const std::string batch =
      "No tensor is known to stand out, and no large update came before: an unusual batch is likely.";
  const std::string dead = "Nothing of the loss comes back to it: units behind it are dead.";
  const std::string count = "2 of 2 tensors that this rule looks at do not move.";
  ToldLines told;
  Tell(AlertWith("spike", 100, {batch}), &told);
  EXPECT_THAT(Tell(AlertWith("jump", 101, {batch}), &told), ElementsAre(batch));
  Tell(AlertWith("frozen_a", 110, {dead, count}, v1::SEVERITY_WARNING, "a"), &told);
  EXPECT_THAT(Tell(AlertWith("frozen_b", 110, {dead, count}, v1::SEVERITY_WARNING, "b"), &told),
              ElementsAre(dead, count));
  EXPECT_THAT(Tell(AlertWith("frozen_c", 110, {dead, count}, v1::SEVERITY_WARNING, "a"), &told),
              ElementsAre(count, "More of why: see alert j/1/frozen_a/1 of this step."))
      << "which tensors a rule looks at is its own";
}

TEST(ToldLinesTest, WhoHearsOfCriticalAlertsAloneHearsEachLineOnce) {
  ToldLines told;
  Tell(AlertWith("spike", 5, {"Why."}), &told);
  EXPECT_THAT(Tell(AlertWith("growth", 5, {"Why."}, v1::SEVERITY_CRITICAL), &told), ElementsAre("Why."));
  EXPECT_THAT(Tell(AlertWith("exploding", 5, {"Why."}, v1::SEVERITY_CRITICAL), &told),
              ElementsAre("More of why: see alert j/1/growth/1 of this step."));
}

// A server takes lines of 1024 characters, and this build promises to stay below 800.
TEST(ToldLinesTest, AnAlertPointsToThreeOthersAtMost) {
  constexpr int64_t kLastStep = 999'999'999'999;
  const std::string longest(63, 'x');  // id of a job, name of a rule
  const auto alert = [&](int rule, const std::vector<std::string>& lines) {
    v1::Alert made = AlertWith(longest.substr(1) + std::to_string(rule), kLastStep - 9 + rule, lines);
    made.set_job_id(longest);
    made.set_attempt(std::numeric_limits<int32_t>::max());
    made.set_episode(std::numeric_limits<int32_t>::max());
    return made;
  };
  ToldLines told;
  for (int rule = 0; rule < 5; ++rule) Tell(alert(rule, {absl::StrCat("Try ", rule, ".")}), &told);
  const auto lines = Tell(alert(9, {"Try 0.", "Try 1.", "Try 2.", "Try 3.", "Try 4.", "Try 2."}), &told);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "Try 3.") << "told again rather than by none that is named";
  EXPECT_EQ(lines[1], "Try 4.");
  EXPECT_THAT(lines[2], StartsWith("Cures: see alert "));
  EXPECT_LT(lines[2].size(), 800u);
}

}  // namespace
}  // namespace gradwatch::core
