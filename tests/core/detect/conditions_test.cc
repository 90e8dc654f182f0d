// What each condition judges, which tensor it names, and what it says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/core/detect/detector_harness.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::OneRule;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kRecurrent = 1, kDenseWeight = 3, kDenseBias = 4;

v1::RuleSet NonFiniteRule() {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_non_finite();
  return rules;
}

v1::RuleSet SpikeRule(bool per_tensor = false) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_norm_spike()->set_per_tensor(per_tensor);
  return rules;
}

v1::RuleSet JumpRule() {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_loss_jump();
  return rules;
}

v1::RuleSet RatioRule() {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_update_ratio();
  return rules;
}

std::string Diagnosis(const v1::Alert& alert) { return absl::StrJoin(alert.diagnosis(), "\n"); }

TEST(NonFiniteTest, EachKindIsToldAsWhatItIs) {
  for (const double loss : {double{NAN}, double{INFINITY}, -double{INFINITY}}) {
    DetectorHarness harness(NonFiniteRule());
    harness.record().loss = loss;
    const auto alerts = harness.Step();
    ASSERT_EQ(alerts.size(), 1u);
    EXPECT_TRUE(std::isnan(loss) ? std::isnan(alerts[0].value()) : alerts[0].value() == loss);
    EXPECT_THAT(alerts[0].summary(), HasSubstr(std::isnan(loss) ? "the loss is NaN" : "Inf"));
  }
  DetectorHarness harness(NonFiniteRule());
  harness.tensor(kDenseBias).neg_inf_count = harness.record().neg_inf_count = 3;
  const auto alerts = harness.Step();
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0].value(), -INFINITY);
  EXPECT_THAT(alerts[0].summary(), HasSubstr("the gradients hold 3 -Inf"));
}

TEST(NonFiniteTest, GradientsAreSaidToBeBrokenOnlyIfTheyAre) {
  DetectorHarness harness(NonFiniteRule());
  harness.record().loss = INFINITY;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_THAT(Diagnosis(alert), HasSubstr("outputs are too large for their loss to be a number"));
  EXPECT_THAT(Diagnosis(alert), Not(HasSubstr("gradient behind it is broken")));
  DetectorHarness both(NonFiniteRule());
  both.record().loss = INFINITY;
  both.BreakTensor(0);
  EXPECT_THAT(Diagnosis(both.Step().at(0)), HasSubstr("every gradient behind it is broken too"));
}

TEST(NonFiniteTest, ANormThatIsNotFiniteCountsToo) {
  DetectorHarness harness(NonFiniteRule());
  harness.record().grad_norm = INFINITY;
  EXPECT_EQ(harness.Step().size(), 1u);
}

TEST(NonFiniteTest, WithAFiniteLossTheBrokenTensorNearestTheOutputIsNamed) {
  DetectorHarness harness(NonFiniteRule());
  for (const int i : {0, 1, 2}) harness.BreakTensor(i);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "rnn0.bias_ih");
  EXPECT_EQ(alert.summary(), "the gradients hold 3 NaN; look at rnn0.bias_ih");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("nearest the output"));
}

TEST(NonFiniteTest, WithABrokenLossTheLargestTensorOfTheLastFiniteStepIsNamed) {
  DetectorHarness harness(NonFiniteRule());
  harness.HealthySteps(10);
  harness.SetTensorNorm(kRecurrent, 3e8);
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.record().loss = NAN;
  for (int i = 0; i < 5; ++i) harness.BreakTensor(i);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "rnn0.weight_hh");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("On the last finite step, 10, the gradient norm was 3e+08"));
}

TEST(NonFiniteTest, BrokenParametersAreNamedFirst) {
  DetectorHarness harness(NonFiniteRule());
  harness.record().loss = NAN;
  for (int i = 0; i < 5; ++i) harness.BreakTensor(i);
  harness.tensor(kDenseWeight).weight_norm = NAN;
  harness.tensor(kDenseBias).weight_norm = NAN;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "dense1.weight");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("parameters of dense1.weight are not finite"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("The weights that it started from are gone"));
  EXPECT_THAT(Diagnosis(alert), Not(HasSubstr("earlier state"))) << "there is none to go back to";
}

TEST(NonFiniteTest, AGlobLooksOnlyAtItsTensors) {
  v1::RuleSet rules = NonFiniteRule();
  rules.mutable_rules(0)->set_tensors("dense*");
  DetectorHarness harness(rules);
  harness.record().loss = NAN;
  harness.BreakTensor(kRecurrent);
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.BreakTensor(kDenseWeight);
  EXPECT_EQ(harness.Step().at(0).tensor(), "dense1.weight");
}

TEST(NormLimitTest, PerTensorNamesTheWorst) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_norm_limit()->set_max_norm(10);
  rules.mutable_rules(0)->mutable_norm_limit()->set_per_tensor(true);
  rules.mutable_rules(0)->set_tensors("rnn*");
  DetectorHarness harness(rules);
  harness.SetTensorNorm(kDenseWeight, 1000);
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.SetTensorNorm(0, 11);
  harness.SetTensorNorm(kRecurrent, 12);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "rnn0.weight_hh");
  EXPECT_EQ(alert.value(), 12);
  EXPECT_EQ(alert.summary(), "gradient norm 12 of rnn0.weight_hh is above the limit 10");
}

TEST(NormLimitTest, ANormThatIsAsUsualIsToldAsThatWithoutCures) {
  const struct {
    double limit;
    const char* words;
  } cases[] = {{0.5, "and the limit 0.5 lies below it"}, {1.2, "and the limit 1.2 lies within what it varies by"}};
  for (const auto& c : cases) {
    DetectorHarness harness(SpikeRule());
    harness.HealthySteps(40);
    v1::RuleSet rules = OneRule();
    rules.mutable_rules(0)->mutable_norm_limit()->set_max_norm(c.limit);
    harness.SetRules(rules);
    harness.SetNorm(1.4);
    const v1::Alert alert = harness.Step().at(0);
    ASSERT_EQ(alert.diagnosis_size(), 1) << Diagnosis(alert);
    EXPECT_THAT(alert.diagnosis(0),
                ::testing::MatchesRegex("The norm is as usual here, median [0-9.]+ over 30 steps, .*tells more\\."));
    EXPECT_THAT(alert.diagnosis(0), HasSubstr(c.words));
  }
}

TEST(NormLimitTest, ANormThatIsFarAboveItsUsualHasCures) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_norm_limit()->set_max_norm(5);
  DetectorHarness harness(rules);
  harness.HealthySteps(40);
  harness.SetNorm(20);
  const std::string diagnosis = Diagnosis(harness.Step().at(0));
  EXPECT_THAT(diagnosis, Not(HasSubstr("as usual here")));
  EXPECT_THAT(diagnosis, HasSubstr("Try clipping"));
}

TEST(NormSpikeTest, SaysWhereHowFarWhyAndWhatToTry) {
  DetectorHarness harness(SpikeRule());
  EXPECT_THAT(harness.HealthySteps(150), IsEmpty());
  harness.SetTensorNorm(kRecurrent, 31000);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "rnn0.weight_hh");
  EXPECT_NEAR(alert.value(), 31000, 1);
  EXPECT_GT(alert.limit(), 1);
  EXPECT_LT(alert.limit(), 10);
  EXPECT_THAT(alert.summary(),
              ::testing::MatchesRegex("gradient norm 3.1e\\+04 is [0-9.e+]+ times its median [01].[0-9]+, "
                                      "[0-9]+ robust deviations above it; largest in rnn0.weight_hh"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("100% of the squared gradient norm"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("once per time step"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("Try clipping the global norm at "));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("5 times its median of "));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("0.05 instead of 0.5"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("orthogonal"));
}

TEST(NormSpikeTest, TheDiagnosisFollowsTheData) {
  DetectorHarness harness(SpikeRule());
  harness.HealthySteps(100);
  harness.SetNorm(1000);
  EXPECT_THAT(Diagnosis(harness.Step().at(0)), HasSubstr("unusual batch"));
  harness.HealthySteps(30);

  harness.tensor(kDenseWeight).update_norm = 2;
  harness.Step();
  harness.SetNorm(1000);
  harness.record().clip_in_force.shared = {5, v1::CLIP_MODE_GLOBAL_NORM, false};
  const std::string diagnosis = Diagnosis(harness.Step().at(0));
  EXPECT_THAT(diagnosis, HasSubstr("changed dense1.weight by 0.2 of its norm"));
  EXPECT_THAT(diagnosis, HasSubstr("Clipping is on: the global norm is at most 5."));
}

TEST(NormSpikeTest, IsSilentDuringTheWarmUp) {
  DetectorHarness harness(SpikeRule());
  EXPECT_THAT(harness.HealthySteps(18), IsEmpty());
  harness.SetNorm(1e6);
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.HealthySteps(1);
  harness.SetNorm(1e6);
  EXPECT_EQ(harness.Step().size(), 1u);
}

// A finite norm of a loss that is not finite: neither judged nor remembered, globally or tensor by tensor.
TEST(NormSpikeTest, AStepOfABrokenLossHasNoNorm) {
  for (const bool per_tensor : {false, true}) {
    for (const double loss : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
      DetectorHarness harness(SpikeRule(per_tensor));
      // As many as the window: they would be the usual.
      for (int i = 0; i < 200; ++i) {
        harness.SetNorm(1e6);
        harness.record().loss = loss;
        EXPECT_THAT(harness.Step(), IsEmpty());
      }
      EXPECT_THAT(harness.HealthySteps(50), IsEmpty());
      harness.SetNorm(1e5);
      harness.record().loss = loss;
      EXPECT_THAT(harness.Step(), IsEmpty());
      harness.SetNorm(1e5);
      EXPECT_EQ(harness.Step().size(), 1u) << per_tensor << " " << loss;
    }
  }
}

TEST(NormSpikeTest, TheFloorOfTheDeviationHoldsForConstantNorms) {
  DetectorHarness harness(SpikeRule());
  for (int i = 0; i < 50; ++i) EXPECT_THAT(harness.Step(), IsEmpty());
  harness.SetNorm(std::exp(0.29));  // below 6 times 0.05
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.SetNorm(std::exp(0.31));
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_NEAR(alert.limit(), std::exp(0.3), 1e-9);
}

// A run that has learnt all there is has hardly a gradient left, and what is far above it is no explosion yet.
TEST(NormSpikeTest, WithAStartFactorTheFirstNormsMustBeExceededToo) {
  v1::RuleSet rules = SpikeRule();
  rules.mutable_rules(0)->mutable_norm_spike()->set_start_factor(2);
  DetectorHarness harness(rules);
  for (int i = 0; i < 200; ++i) {
    harness.SetNorm(i < 20 ? 3 : 1e-4);
    EXPECT_THAT(harness.Step(), IsEmpty());
  }
  harness.SetNorm(5.9);
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.SetNorm(6.1);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_THAT(alert.summary(), HasSubstr("its median 0.0001"));
  harness.SetNorm(5.9);
  EXPECT_THAT(harness.Step(), IsEmpty()) << "neither was taken for the usual";
}

TEST(NormSpikeTest, FallingNormsAreNoSpikes) {
  DetectorHarness harness(SpikeRule());
  for (int i = 0; i < 500; ++i) {
    harness.SetNorm(std::exp(-0.02 * i));
    EXPECT_THAT(harness.Step(), IsEmpty());
  }
}

TEST(NormSpikeTest, PerTensorSeesWhatTheGlobalNormHides) {
  DetectorHarness global(SpikeRule(false)), per_tensor(SpikeRule(true));
  for (DetectorHarness* harness : {&global, &per_tensor}) {
    for (int i = 0; i < 50; ++i) {
      harness->SetTensorNorm(0, 1000);
      EXPECT_THAT(harness->Step(), IsEmpty());
    }
    harness->SetTensorNorm(0, 1000);
    harness->SetTensorNorm(kDenseBias, 100);
  }
  EXPECT_THAT(global.Step(), IsEmpty());
  const v1::Alert alert = per_tensor.Step().at(0);
  EXPECT_EQ(alert.tensor(), "dense1.bias");
  EXPECT_THAT(alert.summary(), HasSubstr("gradient norm 100 of dense1.bias is"));
}

TEST(LossJumpTest, JudgesAgainstTheMedianAndLooksAtTheGradient) {
  DetectorHarness harness(JumpRule());
  EXPECT_THAT(harness.HealthySteps(60, 1, 2), IsEmpty());
  harness.record().loss = 8;
  const v1::Alert calm = harness.Step().at(0);
  EXPECT_EQ(calm.tensor(), "");
  EXPECT_EQ(calm.value(), 8);
  EXPECT_THAT(calm.summary(), HasSubstr("loss 8 is "));
  EXPECT_THAT(Diagnosis(calm), HasSubstr("gradient norm is as usual"));
  harness.HealthySteps(30, 1, 2);
  harness.record().loss = 8;
  harness.SetTensorNorm(kRecurrent, 50);
  EXPECT_THAT(Diagnosis(harness.Step().at(0)), HasSubstr("times its median; largest in rnn0.weight_hh"));
}

TEST(LossJumpTest, TheSpreadOfANearlyConvergedRunIsNoJump) {
  v1::RuleSet rules = JumpRule();
  rules.mutable_rules(0)->set_for_steps(3);
  DetectorHarness harness(rules);
  Random random(5, RandomStream::kSyntheticData, 0);
  for (int i = 0; i < 2000; ++i) {
    // The middle half of the losses lies within a factor of 8; a quarter is above 3 times the median.
    harness.record().loss = 0.01 * std::exp(1.5 * random.NextNormal());
    for (const v1::Alert& alert : harness.Step()) EXPECT_NE(alert.state(), v1::ALERT_STATE_FIRING) << i;
  }
  std::vector<v1::Alert> alerts;
  for (int i = 0; i < 3; ++i) {
    harness.record().loss = 1e4;
    alerts = harness.Step();
  }
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0].state(), v1::ALERT_STATE_FIRING);
}

// The losses of a classifier that has learnt nearly all scatter by powers of ten, and nobody needs to know.
TEST(LossJumpTest, BelowAHundredthOfItsStartALossMayJump) {
  DetectorHarness harness(JumpRule());
  harness.record().loss = 1;
  for (int i = 0; i < 30; ++i) EXPECT_THAT(harness.Step(), IsEmpty());
  harness.HealthySteps(60, 1, 1e-4);
  harness.record().loss = 0.0099;
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.HealthySteps(10, 1, 1e-4);
  harness.record().loss = 0.0101;
  EXPECT_EQ(harness.Step().size(), 1u);
}

TEST(LossJumpTest, ALossBelowZeroIsJudgedToo) {
  DetectorHarness harness(JumpRule());
  for (int i = 0; i < 100; ++i) {
    harness.record().loss = i == 50 ? 100 : -5 + 0.1 * std::sin(i);
    const std::vector<v1::Alert> alerts = harness.Step();
    EXPECT_EQ(!alerts.empty() && alerts[0].state() == v1::ALERT_STATE_FIRING, i == 50) << i;
  }
}

TEST(UpdateRatioTest, NamesTheWorstTensorAndARate) {
  DetectorHarness harness(RatioRule());
  EXPECT_THAT(harness.HealthySteps(10), IsEmpty());
  harness.tensor(0).update_norm = 1.5;
  harness.tensor(kDenseWeight).update_norm = 2.5;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "dense1.weight");
  EXPECT_EQ(alert.value(), 0.25);
  EXPECT_EQ(alert.limit(), 0.1);
  EXPECT_EQ(alert.summary(), "the update of dense1.weight is 0.25 times its weights, above the limit 0.1");
  EXPECT_THAT(Diagnosis(alert), HasSubstr(": 0.02 would bring the ratio to 0.01"));
}

TEST(UpdateRatioTest, BlamesTheGradientWhenItIsLarge) {
  DetectorHarness harness(RatioRule());
  harness.HealthySteps(10);
  harness.SetNorm(1000);
  harness.tensor(kDenseWeight).update_norm = 500;
  EXPECT_THAT(Diagnosis(harness.Step().at(0)), HasSubstr("it is the gradient that is large"));
}

// Clipping limits the gradient to 1, and the rate rose a thousandfold.
TEST(UpdateRatioTest, BlamesTheRateThatWasRaisedWhereClippingLimitsTheGradient) {
  for (const bool clipped : {true, false}) {
    DetectorHarness harness(RatioRule());
    harness.record().learning_rate = 0.01;
    harness.HealthySteps(40);
    harness.record().learning_rate = 10;
    harness.SetNorm(557);
    harness.tensor(kDenseWeight).update_norm = 8;
    if (clipped) harness.record().clip_in_force.shared = {1, v1::CLIP_MODE_GLOBAL_NORM, false};
    const std::string diagnosis = Diagnosis(harness.Step().at(0));
    EXPECT_EQ(diagnosis.find("it is the gradient that is large") == std::string::npos, clipped) << diagnosis;
    EXPECT_EQ(diagnosis.find("it is the learning rate 10 that is too high") != std::string::npos, clipped) << diagnosis;
  }
}

v1::RuleSet OvershootRule() {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_overshoot();
  return rules;
}

TEST(OvershootTest, SaysThatNoChangeBringsTheWeightsBack) {
  DetectorHarness harness(OvershootRule());
  harness.HealthySteps(40);
  harness.record().loss = 50;
  harness.SetNorm(100);
  harness.SetUpdateRatio(9);
  const v1::Alert alert = harness.Step().at(0);
  const std::string diagnosis = Diagnosis(alert);
  const size_t gone = diagnosis.find("What the weights had learnt is gone"), cure = diagnosis.find("Try ");
  ASSERT_NE(gone, std::string::npos) << diagnosis;
  EXPECT_LT(gone, cure) << diagnosis;
  EXPECT_THAT(diagnosis, HasSubstr("start the job again with these values in its spec."));
  EXPECT_THAT(diagnosis, HasSubstr("gradwatch submit SPEC --set controls.clip.mode=global_norm --set "));
  EXPECT_THAT(diagnosis, Not(HasSubstr("gradwatch clip set"))) << "that is for a running job";
  EXPECT_THAT(diagnosis, Not(HasSubstr("gradwatch adjust")));
}

TEST(OvershootTest, NothingWasLearntByTheFirstSteps) {
  DetectorHarness harness(OvershootRule());
  harness.HealthySteps(4);
  harness.record().loss = 50;
  harness.SetUpdateRatio(20);
  const std::string diagnosis = Diagnosis(harness.Step().at(0));
  EXPECT_THAT(diagnosis, HasSubstr("The weights that it started from are gone"));
  // Whatever the gradient is then, the measured excess says how far the rate is off.
  EXPECT_THAT(diagnosis, HasSubstr("learning_rate_scale=0.005"));
}

// The loss of a step shows the update of the step before, and that is the one to tell.
TEST(OvershootTest, TellsTheUpdateThatBrokeTheLossAndNotTheNextOne) {
  for (const double ratio : {9.0, 12.0}) {
    DetectorHarness harness(OvershootRule());
    harness.HealthySteps(40);
    harness.SetUpdateRatio(ratio);
    EXPECT_THAT(harness.Step(), IsEmpty());
    harness.record().loss = 50;
    harness.SetUpdateRatio(0);  // dead units have no gradient
    const v1::Alert alert = harness.Step().at(0);
    EXPECT_THAT(alert.summary(), HasSubstr(absl::StrCat("that of step 40 was ", ratio, " times rnn0.weight_ih")));
    EXPECT_THAT(Diagnosis(alert), HasSubstr("What the weights had learnt is gone"));
    EXPECT_THAT(Diagnosis(alert), HasSubstr("Try "));
  }
}

TEST(NormGrowthTest, SaysThatTheWeightsAreGoneOnlyWhereAnUpdateReplacedThem) {
  for (const double ratio : {0.9, 1.0}) {
    v1::RuleSet rules = OneRule();
    rules.mutable_rules(0)->mutable_norm_growth();
    DetectorHarness harness(rules);
    harness.HealthySteps(40);
    std::vector<v1::Alert> alerts;
    for (double norm = 1000; alerts.empty() && norm < 1e12; norm *= 10) {
      harness.SetNorm(norm);
      harness.SetUpdateRatio(ratio);
      alerts = harness.Step();
    }
    ASSERT_FALSE(alerts.empty());
    const std::string diagnosis = Diagnosis(alerts[0]);
    EXPECT_EQ(diagnosis.find("What the weights had learnt is gone") != std::string::npos, ratio >= 1) << diagnosis;
  }
}

TEST(FirstStepTest, TellsALossFarAboveGuessingAndALargeUpdateTogether) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_first_step();
  const RunFacts facts{.guessing_loss = 2};
  for (const auto& [loss, ratio] : {std::pair(100.0, 1.5), {100.0, 0.001}, {2.0, 1.5}}) {
    DetectorHarness harness(rules, facts);
    harness.record().loss = loss;
    harness.SetUpdateRatio(ratio);
    const v1::Alert alert = harness.Step().at(0);
    const bool far = loss > 2, large = ratio > 1;
    EXPECT_EQ(alert.summary(),
              absl::StrCat(far ? "the first loss is 100, 50 times that of guessing, 2" : "", far && large ? "; " : "",
                           large ? "the first update is 1.5 times the weights of rnn0.weight_ih" : ""));
    const std::string diagnosis = Diagnosis(alert);
    const size_t start = diagnosis.find("the initialisation is too large, or inputs or targets are not scaled");
    EXPECT_EQ(start != std::string::npos, far) << diagnosis;
    const size_t rate = diagnosis.find("The learning rate 0.5 is too high");
    EXPECT_EQ(rate != std::string::npos, large && !far) << "the start is to blame: " << diagnosis;
    EXPECT_EQ(diagnosis.find("Try an initialisation") != std::string::npos, far) << diagnosis;
  }
}

TEST(FirstStepTest, AnInputThatIsNotScaledIsNamed) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_first_step();
  for (const double loss : {1.0, 100.0}) {
    DetectorHarness harness(rules, {.guessing_loss = 2, .input_scale = 50'000, .largest_input = "income"});
    harness.record().loss = loss;
    const v1::Alert alert = harness.Step().at(0);
    EXPECT_THAT(alert.summary(), HasSubstr("the input income is as large as 5e+04 (root mean square)"));
    EXPECT_THAT(Diagnosis(alert), HasSubstr("data.csv.standardize"));
    EXPECT_THAT(Diagnosis(alert), Not(HasSubstr("initialisation is too large"))) << "the cause is known";
    EXPECT_EQ(alert.value(), loss > 20 ? loss : 50'000);
  }
  DetectorHarness small(rules, {.guessing_loss = 2, .input_scale = 99, .largest_input = "height"});
  EXPECT_THAT(small.Step(), IsEmpty());
}

// A start is over when the loss has come down to where a good one would have begun.
TEST(FirstStepTest, ABadStartLastsAsLongAsTheLossIsFarAboveGuessing) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_first_step();
  DetectorHarness harness(rules, {.guessing_loss = 2, .input_scale = 50'000, .largest_input = "income"});
  const auto told = [&](double loss, int steps) {
    std::vector<v1::Alert> all;
    for (int i = 0; i < steps; ++i) {
      harness.record().loss = loss;
      for (v1::Alert& alert : harness.Step()) all.push_back(std::move(alert));
    }
    return all;
  };
  ASSERT_EQ(told(100, 1).at(0).state(), v1::ALERT_STATE_FIRING);
  EXPECT_THAT(told(100, 100), IsEmpty());
  EXPECT_EQ(told(19, 40).at(0).state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_THAT(told(100, 40), IsEmpty()) << "that is for other rules";
}

// One hard example of a task that is all but solved has a thousand times the gradient of the others.
TEST(NormSpikeTest, ASolvedTaskHasNoLargeGradientsThatMatter) {
  for (const double loss : {1e-4, 0.1}) {
    v1::RuleSet rules = OneRule();
    rules.mutable_rules(0)->mutable_norm_spike()->set_start_factor(1);
    DetectorHarness harness(rules);
    harness.HealthySteps(40);
    harness.HealthySteps(100, 1e-3, loss);
    harness.record().loss = 10 * loss;
    harness.SetNorm(10);
    EXPECT_EQ(harness.Step().size(), loss > 0.01 ? 1u : 0u) << loss;
  }
}

// A rate falls at the end of its schedule, and with it the updates: that the loss stands there is no recovery.
TEST(LossDivergenceTest, WhatIsLostIsNotOverBecauseUpdatesHaveBecomeSmall) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_loss_divergence();
  DetectorHarness harness(rules);
  harness.HealthySteps(60);
  std::vector<v1::Alert> told;
  const auto steps = [&](double loss, double ratio, int count) {
    told.clear();
    for (int i = 0; i < count; ++i) {
      harness.record().loss = loss * (i % 2 == 0 ? 0.7 : 1.4);
      harness.SetUpdateRatio(ratio);
      for (v1::Alert& alert : harness.Step()) told.push_back(std::move(alert));
    }
  };
  steps(50, 0.1, 100);
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back().state(), v1::ALERT_STATE_FIRING);
  steps(5, 0.001, 300);
  EXPECT_THAT(told, IsEmpty());
  steps(1, 0.001, 100);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].state(), v1::ALERT_STATE_RESOLVED);
}

// What is best of five losses is not the median of fifty.
TEST(LossDivergenceTest, SaysOfHowManyLossesTheBestIs) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_loss_divergence();
  for (const int healthy : {8, 80}) {
    DetectorHarness harness(rules);
    harness.HealthySteps(healthy);
    std::string diagnosis;
    for (int i = 0; i < 200 && diagnosis.empty(); ++i) {
      harness.record().loss = 100 * std::pow(1.01, i);
      for (const v1::Alert& alert : harness.Step()) diagnosis = Diagnosis(alert);
    }
    const bool is_first = diagnosis.find("the median of the first ") != std::string::npos;
    const bool is_of_fifty = diagnosis.find("the median of 50 steps up to step ") != std::string::npos;
    EXPECT_TRUE(healthy < 50 ? is_first : is_of_fifty) << diagnosis;
  }
}

// Loss grows with the square of an input: one of 4 is enough for a factor of 10.
TEST(FirstStepTest, InputsAreRuledOutOnlyWhereTheyAreSmall) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_first_step();
  const std::pair<double, const char*> cases[] = {{NAN, "too large, or inputs or targets"},
                                                  {3, "too large, or targets"},
                                                  {60, "or inputs (age is as large as 60)"}};
  for (const auto& [scale, words] : cases) {
    DetectorHarness harness(rules, {.guessing_loss = 2, .input_scale = scale, .largest_input = "age"});
    harness.record().loss = 100;
    EXPECT_THAT(Diagnosis(harness.Step().at(0)), HasSubstr(words));
  }
}

TEST(FirstStepTest, ARoughLossOfGuessingIsEnough) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_first_step();
  DetectorHarness harness(rules, {.rough_guessing_loss = 2});
  harness.record().loss = 21;
  EXPECT_EQ(harness.Step().at(0).limit(), 20);
}

TEST(FirstStepTest, AnInputIsToldAlsoWhereTheStepIsNotFinite) {
  v1::RuleSet rules = OneRule();
  rules.mutable_rules(0)->mutable_first_step();
  DetectorHarness harness(rules, {.guessing_loss = 2, .input_scale = 1e20, .largest_input = "time"});
  harness.record().loss = INFINITY;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.summary(), "the input time is as large as 1e+20 (root mean square)");
}

TEST(LossCollapseTest, ALossFarAboveItsStartIsWorseAndNotBack) {
  for (const double lost : {1.0, 12.0}) {
    v1::RuleSet rules = OneRule();
    rules.mutable_rules(0)->mutable_loss_collapse();
    DetectorHarness harness(rules);
    harness.HealthySteps(30);
    harness.HealthySteps(100, 1, 0.1);
    const std::vector<v1::Alert> alerts = harness.HealthySteps(60, 1, lost);
    ASSERT_FALSE(alerts.empty());
    // The last one is told when the median is that of the lost steps.
    const v1::Alert& alert = alerts.back();
    EXPECT_THAT(alert.summary(),
                HasSubstr(lost > 1 ? "the loss is worse than at its start: " : "the loss is back where it began: "));
    EXPECT_THAT(Diagnosis(alert), HasSubstr("no change of the running job brings it back: start it again"));
    EXPECT_THAT(Diagnosis(alert), HasSubstr("gradwatch submit SPEC --set controls.learning_rate_scale="));
    EXPECT_THAT(Diagnosis(alert), Not(HasSubstr("gradwatch adjust")));
    EXPECT_THAT(Diagnosis(alert), Not(HasSubstr("earlier state")));
  }
}

TEST(UpdateRatioTest, SuggestsNoRateFromAnUpdateThatReplacesTheWeights) {
  DetectorHarness harness(RatioRule());
  harness.SetNorm(1000);
  harness.tensor(kDenseWeight).update_norm = 1e20;
  const std::string diagnosis = Diagnosis(harness.Step().at(0));
  EXPECT_THAT(diagnosis, HasSubstr("replaces the weights"));
  EXPECT_THAT(diagnosis, Not(HasSubstr("bring the ratio")));
  EXPECT_THAT(diagnosis, HasSubstr("Try clipping the global norm, for a start at 1"));
}

TEST(UpdateRatioTest, TensorsThatStartAtZeroHaveAHundredSteps) {
  DetectorHarness harness(RatioRule());
  for (int step = 0; step < 100; ++step) {
    harness.tensor(kDenseBias).weight_norm = step == 0 ? 0 : 0.01;
    EXPECT_THAT(harness.Step(), IsEmpty()) << step;
  }
  harness.tensor(kDenseBias).weight_norm = 0.01;
  EXPECT_EQ(harness.Step().at(0).tensor(), "dense1.bias");
}

TEST(UpdateRatioTest, IsNotJudgedWithoutAnUpdateOrAMeasurement) {
  DetectorHarness harness(RatioRule());
  for (const auto action : {v1::ClipOutcome::ACTION_SKIPPED, v1::ClipOutcome::ACTION_STOPPED}) {
    harness.SetClip({.action = action});
    harness.tensor(0).update_norm = 100;
    EXPECT_THAT(harness.Step(), IsEmpty());
  }
  harness.record().level = v1::STATISTICS_LEVEL_NORM;
  harness.tensor(0).update_norm = 100;
  EXPECT_THAT(harness.Step(), IsEmpty());
}

TEST(UpdateRatioTest, ABrokenUpdateIsWorseThanAny) {
  for (const double broken : {double{NAN}, double{INFINITY}}) {
    DetectorHarness harness(RatioRule());
    harness.tensor(0).update_norm = 5;
    harness.tensor(kRecurrent).update_norm = broken;
    harness.tensor(kDenseWeight).update_norm = 6;
    EXPECT_EQ(harness.Step().at(0).tensor(), "rnn0.weight_hh");
  }
}

}  // namespace
}  // namespace gradwatch::core
