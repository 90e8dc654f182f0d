// What the conditions about dying and growing signals judge, at which levels, and what they say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "tests/core/detect/detector_harness.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::OneRule;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kInput = 0, kRecurrent = 1, kDenseWeight = 3, kDenseBias = 4;

// A set with just this rule, which resolves with the first quiet step.
v1::RuleSet JustOne() {
  v1::RuleSet rules = OneRule(1, 1);
  rules.set_preset("none");
  return rules;
}

v1::RuleSet VanishingRule() {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_vanishing();
  return rules;
}

v1::RuleSet GrowthRule(double max_growth) {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_growth()->set_max_growth(max_growth);
  return rules;
}

v1::RuleSet SaturationRule(double max_saturated = 0.5, double max_dead = 0.5) {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_saturation()->set_max_saturated(max_saturated);
  rules.mutable_rules(0)->mutable_saturation()->set_max_dead(max_dead);
  return rules;
}

v1::RuleSet AttentionRule(double max_logit = 50, double min_entropy = 0.01) {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_attention()->set_max_logit(max_logit);
  rules.mutable_rules(0)->mutable_attention()->set_min_entropy(min_entropy);
  return rules;
}

v1::RuleSet FrozenRule() {
  v1::RuleSet rules = JustOne();
  rules.mutable_rules(0)->mutable_frozen();
  return rules;
}

std::string Diagnosis(const v1::Alert& alert) { return absl::StrJoin(alert.diagnosis(), "\n"); }

// Runs the step and tells what it made of the rule's alert: UNSPECIFIED if it left it as it was.
v1::AlertState StateAfter(DetectorHarness* harness) {
  const auto alerts = harness->Step();
  EXPECT_LE(alerts.size(), 1u);
  return alerts.empty() ? v1::ALERT_STATE_UNSPECIFIED : alerts[0].state();
}

void SetMeans(DetectorHarness* harness, double mean_abs) {
  for (TensorStatistics& tensor : harness->record().tensors) tensor.mean_abs = mean_abs;
}

// Of a layer whose output has a gradient of this norm.
LayerStatistics Backward(double norm) {
  LayerStatistics layer;
  layer.has_backward = true;
  layer.backward_norm = norm;
  return layer;
}

LayerStatistics Saturated(double share) {
  LayerStatistics layer;
  layer.saturated = share;
  return layer;
}

LayerStatistics Dead(double share) {
  LayerStatistics layer;
  layer.dead = share;
  return layer;
}

LayerStatistics Attending(double largest_logit, double entropy) {
  LayerStatistics layer;
  layer.has_attention = true;
  layer.largest_logit = largest_logit;
  layer.attention_entropy = entropy;
  return layer;
}

TEST(VanishingTest, NamesTheLowestTensorAndSaysSinceWhenAndWhatItWas) {
  DetectorHarness harness(VanishingRule());
  for (int step = 0; step < 10; ++step) {
    SetMeans(&harness, 0.01);
    harness.tensor(kInput).mean_abs = step == 4 ? 0.5 : 1e-3;
    EXPECT_THAT(harness.Step(), IsEmpty());
  }
  SetMeans(&harness, 0.01);
  harness.tensor(kDenseWeight).mean_abs = 0.02;
  harness.tensor(kRecurrent).mean_abs = 5e-8;
  harness.tensor(kInput).mean_abs = 4e-8;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "rnn0.weight_ih");
  EXPECT_EQ(alert.value(), 4e-8);
  EXPECT_EQ(alert.limit(), 1e-7);
  EXPECT_EQ(alert.summary(),
            "the gradient of rnn0.weight_ih has mean magnitude 4e-08, below the limit 1e-07 since step 10");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("largest at step 4: 0.5"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("2 of 5 tensors; the largest mean magnitude is 0.02, of dense1.weight"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("gradwatch adjust job --layer-statistics true"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("`gradwatch watch job -o json` then shows under \"layers\""));
}

TEST(VanishingTest, BelowIsBelowAndZeroIsToo) {
  v1::RuleSet rules = VanishingRule();
  rules.mutable_rules(0)->mutable_vanishing()->set_min_mean_abs(0.25);
  DetectorHarness harness(rules);
  const struct {
    double mean_abs;
    v1::AlertState state;
  } steps[] = {{0.25, v1::ALERT_STATE_UNSPECIFIED},
               {std::nextafter(0.25, 0), v1::ALERT_STATE_FIRING},
               {0.25, v1::ALERT_STATE_RESOLVED},
               {0, v1::ALERT_STATE_FIRING}};
  for (const auto& step : steps) {
    SetMeans(&harness, step.mean_abs);
    EXPECT_EQ(StateAfter(&harness), step.state) << step.mean_abs;
  }
}

TEST(VanishingTest, SaysWhetherItIsAllOfThemAndWhichLayerIsShut) {
  DetectorHarness harness(VanishingRule());
  SetMeans(&harness, 1e-9);
  harness.record().layers = {Saturated(0.2), LayerStatistics(), Dead(0.97)};
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_THAT(Diagnosis(alert), HasSubstr("all 5 tensors"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("never been larger than 1e-09"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("In layer 2 of 3, counted from 0 and forward, 97%"));
}

// What is not measured neither begins nor ends an alert.
TEST(VanishingTest, WhatIsNotMeasuredChangesNothing) {
  DetectorHarness harness(VanishingRule());
  const auto unknown_steps = [&harness](double mean_abs) {
    for (const auto level : {v1::STATISTICS_LEVEL_NORM, v1::STATISTICS_LEVEL_NONE}) {
      harness.record().level = level;
      SetMeans(&harness, mean_abs);
      EXPECT_THAT(harness.Step(), IsEmpty());
    }
    harness.record().level = v1::STATISTICS_LEVEL_FULL;
    harness.record().loss = NAN;
    SetMeans(&harness, mean_abs);
    EXPECT_THAT(harness.Step(), IsEmpty());
  };
  unknown_steps(0);
  SetMeans(&harness, 0);
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_FIRING);
  unknown_steps(1);
  SetMeans(&harness, 1);
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_RESOLVED);
}

TEST(VanishingTest, AGlobLooksOnlyAtItsTensors) {
  v1::RuleSet rules = VanishingRule();
  rules.mutable_rules(0)->set_tensors("dense*");
  DetectorHarness harness(rules);
  SetMeans(&harness, 1);
  harness.tensor(kRecurrent).mean_abs = 0;
  EXPECT_THAT(harness.Step(), IsEmpty());
  SetMeans(&harness, 1);
  harness.tensor(kDenseBias).mean_abs = 0;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "dense1.bias");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("1 of 2 tensors"));
}

// Along a chain of layers the growth is the product of those of the layers behind a place.
TEST(GrowthTest, IsTheProductOfTheGrowthsOfTheLayersBehind) {
  Random random(3, RandomStream::kSyntheticData, 0);
  DetectorHarness harness(GrowthRule(1e3));
  int fired = 0;
  for (int network = 0; network < 500; ++network) {
    constexpr int kLayers = 12;
    std::vector<LayerStatistics> layers(kLayers, Backward(1e-5));
    double log_growth = 0, largest = 0;
    int worst = kLayers - 1;
    for (int i = kLayers - 1; i >= 0; --i) {
      layers[i].backward_norm = 1e-5 * std::exp(log_growth);
      if (log_growth > largest) worst = i;
      largest = std::max(largest, log_growth);
      if (i > 0) layers[i].backward_growth = 0.4 + 0.8 * random.NextNormal();
      log_growth += i > 0 ? layers[i].backward_growth : 0;
    }
    const bool fires = largest > std::log(1e3);
    harness.record().layers = layers;
    const auto alerts = harness.Step();
    ASSERT_EQ(alerts.size(), fires ? 1u : 0u);
    if (fires) {
      ++fired;
      EXPECT_NEAR(std::log(alerts[0].value()), largest, 1e-9);
      EXPECT_THAT(alerts[0].summary(), HasSubstr("to layer " + std::to_string(worst) + " of 12,"));
    }
    harness.record().layers = std::vector<LayerStatistics>(kLayers, Backward(1));
    EXPECT_EQ(StateAfter(&harness), fires ? v1::ALERT_STATE_RESOLVED : v1::ALERT_STATE_UNSPECIFIED);
  }
  EXPECT_GT(fired, 50);
  EXPECT_LT(fired, 450);
}

// A block comes behind the layers in it: the signal grows 50 times in two layers of the block and 60 times in the whole
// of it, by the way around them. Multiplied it would be 3,000.
TEST(GrowthTest, ABlockDoesNotCountTwice) {
  const auto network = [] {
    std::vector<LayerStatistics> layers = {Backward(60), Backward(5), Backward(1), Backward(1), Backward(1)};
    layers[1].backward_growth = layers[2].backward_growth = std::log(7.07);
    layers[3].backward_growth = std::log(60);  // the block
    layers[4].backward_growth = 0;
    return layers;
  };
  DetectorHarness above(GrowthRule(100)), below(GrowthRule(59));
  above.record().layers = below.record().layers = network();
  EXPECT_THAT(above.Step(), IsEmpty());
  const v1::Alert alert = below.Step().at(0);
  EXPECT_EQ(alert.value(), 60);
  EXPECT_EQ(alert.tensor(), "");
  EXPECT_THAT(alert.summary(), HasSubstr("grows 60 times on its way from the output to layer 0 of 5,"));
  EXPECT_THAT(alert.summary(), HasSubstr("above the limit 59 since step 0"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("most in layer 3 of 5, counted from 0 and forward, by 60 times"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("gradwatch adjust job --lr-scale 0.1"));
}

TEST(GrowthTest, TheLimitItselfIsQuietAndWhatIsNotFiniteIsAboveIt) {
  DetectorHarness harness(GrowthRule(16));
  const struct {
    double first, output;
    v1::AlertState state;
  } steps[] = {{32, 2, v1::ALERT_STATE_UNSPECIFIED},   {std::nextafter(32, 33), 2, v1::ALERT_STATE_FIRING},
               {1, 2, v1::ALERT_STATE_RESOLVED},       {kInfinity, 2, v1::ALERT_STATE_FIRING},
               {2, 2, v1::ALERT_STATE_RESOLVED},       {NAN, 2, v1::ALERT_STATE_FIRING},
               {1, 0, v1::ALERT_STATE_UNSPECIFIED},    {1, kInfinity, v1::ALERT_STATE_UNSPECIFIED},
               {1, NAN, v1::ALERT_STATE_UNSPECIFIED},  {0, 1, v1::ALERT_STATE_RESOLVED},
               {1e300, 1e-300, v1::ALERT_STATE_FIRING}};
  for (const auto& step : steps) {
    harness.record().layers = {Backward(step.first), Backward(step.output)};
    EXPECT_EQ(StateAfter(&harness), step.state) << step.first << " / " << step.output;
  }
}

TEST(GrowthTest, StepsWithoutLayersChangeNothing) {
  DetectorHarness harness(GrowthRule(10));
  harness.record().layers = {Backward(11), Backward(1)};
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_FIRING);
  harness.record().layers = {Backward(1), Backward(1)};
  harness.record().report_tensors = false;  // they are of an older step
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.record().report_tensors = true;
  harness.record().layers = {LayerStatistics(), LayerStatistics()};  // nothing came back
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.record().layers.clear();
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.record().layers = {LayerStatistics(), Backward(1)};  // the first one needs none
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_RESOLVED);
}

TEST(SaturationTest, NamesTheLayerFurthestAboveItsLimit) {
  DetectorHarness harness(SaturationRule(0.8, 0.2));
  harness.record().layers = {Saturated(0.95), Dead(0.3), Saturated(0.1), LayerStatistics()};
  harness.record().layers[1].output_mean = 0.25;
  harness.record().layers[1].output_variance = 4;
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.value(), 0.3);
  EXPECT_EQ(alert.limit(), 0.2);
  EXPECT_EQ(alert.summary(),
            "30% of layer 1 of 4, counted from 0 and forward, are dead, above the limit 20% since step 0");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("2 of 4 layers"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("mean 0.25 and standard deviation 2"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("On this batch such a unit is 0 for every example"));
}

TEST(LayerNamesTest, LayersAreCalledByNameWhereThatIsKnown) {
  const RunFacts facts{.layer_names = {"dense0", "encoder (lstm)", "residual1.dense0"}};
  DetectorHarness dead(SaturationRule(0.8, 0.2), facts);
  dead.record().layers = {Saturated(0.1), Dead(0.3), LayerStatistics()};
  EXPECT_EQ(dead.Step().at(0).summary(), "30% of layer encoder (lstm) are dead, above the limit 20% since step 0");
  DetectorHarness vanishing(VanishingRule(), facts);
  SetMeans(&vanishing, 1e-9);
  vanishing.record().layers = {LayerStatistics(), LayerStatistics(), Dead(0.97)};
  EXPECT_THAT(Diagnosis(vanishing.Step().at(0)), HasSubstr("In layer residual1.dense0 97% is saturated or dead"));
}

// Weights that are as they started are not saved by smaller steps.
TEST(SaturationTest, ALowerRateIsACureOfLargeUpdatesAlone) {
  for (const double ratio : {0.001, 0.5}) {
    for (const bool dead : {false, true}) {
      DetectorHarness harness(SaturationRule());
      harness.HealthySteps(40);
      harness.SetUpdateRatio(ratio);
      harness.Step();
      harness.record().layers = {dead ? Dead(0.9) : Saturated(0.9)};
      const std::string diagnosis = Diagnosis(harness.Step().at(0));
      EXPECT_EQ(diagnosis.find("gradwatch adjust job --lr-scale 0.1") != std::string::npos, ratio > 0.01) << diagnosis;
    }
  }
}

TEST(SaturationTest, MoreThanTheShareAndOnlyWhereItIsMeasured) {
  DetectorHarness harness(SaturationRule());
  const struct {
    const char* what;
    std::vector<LayerStatistics> layers;
    bool reported;
    v1::AlertState state;
  } steps[] = {
      {"just the share", {Saturated(0.5), Dead(0.5)}, true, v1::ALERT_STATE_UNSPECIFIED},
      {"more", {Saturated(0.51), Dead(0.5)}, true, v1::ALERT_STATE_FIRING},
      {"not of this step", {Saturated(0), Dead(0)}, false, v1::ALERT_STATE_UNSPECIFIED},
      {"no such layers", {LayerStatistics(), LayerStatistics()}, true, v1::ALERT_STATE_UNSPECIFIED},
      {"not measured", {}, true, v1::ALERT_STATE_UNSPECIFIED},
      {"less", {LayerStatistics(), Dead(0.4)}, true, v1::ALERT_STATE_RESOLVED},
      {"all dead", {LayerStatistics(), Dead(1)}, true, v1::ALERT_STATE_FIRING},
  };
  for (const auto& step : steps) {
    harness.record().layers = step.layers;
    harness.record().report_tensors = step.reported;
    EXPECT_EQ(StateAfter(&harness), step.state) << step.what;
  }
}

TEST(SaturationTest, AShareOfOneIsNoLimit) {
  DetectorHarness harness(SaturationRule(1, 0.5));
  harness.record().layers = {Saturated(1), Dead(0.1)};
  EXPECT_THAT(harness.Step(), IsEmpty());
}

TEST(AttentionTest, NamesTheLayerWithTheLargestLogit) {
  DetectorHarness harness(AttentionRule());
  harness.HealthySteps(3);
  harness.record().layers = {LayerStatistics(), Attending(60, 0.2), Attending(75, 0.125), Attending(70, 0.001),
                             Attending(-3, 1)};
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.value(), 75);
  EXPECT_EQ(alert.limit(), 50);
  EXPECT_EQ(alert.tensor(), "");
  EXPECT_EQ(alert.summary(),
            "the largest logit of the attention in layer 2 of 5, counted from 0 and forward, is 75, above the limit 50 "
            "since step 3");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("3 of 4 layers with attention. The entropy of its weights is 0.125 of"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("gradwatch adjust job --lr-scale 0.1"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("queries and keys that are normalised"));
}

TEST(AttentionTest, NamesTheLayerWithTheLowestEntropyWhereLogitsAreWithinTheirLimit) {
  DetectorHarness harness(AttentionRule());
  harness.record().layers = {Attending(20, 0.009), Attending(30, 0.002), Attending(40, 0.5)};
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.value(), 0.002);
  EXPECT_EQ(alert.limit(), 0.01);
  EXPECT_EQ(alert.summary(),
            "the entropy of the attention in layer 1 of 3, counted from 0 and forward, is 0.002 of the largest there "
            "could be, below the limit 0.01 since step 0");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("2 of 3 layers with attention. The largest logit of this one is 30."));
}

// NaN is worse than any number, wherever it stands.
TEST(AttentionTest, ALogitThatIsNotFiniteIsAboveEveryLimit) {
  const LayerStatistics broken = Attending(NAN, NAN), infinite = Attending(kInfinity, NAN),
                        large = Attending(1.5e300, 0);
  const struct {
    std::vector<LayerStatistics> layers;
    const char* named;
    double value;
  } cases[] = {{{broken, large}, "layer 0 of 2", NAN},
               {{large, broken}, "layer 1 of 2", NAN},
               {{infinite, broken, infinite}, "layer 1 of 3", NAN},
               {{broken, broken}, "layer 0 of 2", NAN},
               {{large, infinite, large}, "layer 1 of 3", kInfinity},
               {{Attending(1, 0), infinite}, "layer 1 of 2", kInfinity}};
  for (const auto& c : cases) {
    DetectorHarness harness(AttentionRule(1e300, 0.5));
    harness.record().layers = c.layers;
    const v1::Alert alert = harness.Step().at(0);
    EXPECT_THAT(alert.summary(), HasSubstr(c.named));
    EXPECT_EQ(std::isnan(alert.value()), std::isnan(c.value)) << alert.summary();
    if (!std::isnan(c.value)) {
      EXPECT_EQ(alert.value(), c.value);
    }
    EXPECT_EQ(alert.limit(), 1e300);
  }
}

TEST(AttentionTest, BeyondTheLimitsAndOnlyWhereItIsMeasured) {
  DetectorHarness harness(AttentionRule(50, 0.25));
  const struct {
    const char* what;
    std::vector<LayerStatistics> layers;
    bool reported;
    v1::AlertState state;
  } steps[] = {
      {"just the limits", {Attending(50, 0.25)}, true, v1::ALERT_STATE_UNSPECIFIED},
      {"above", {Attending(std::nextafter(50, 51), 0.25)}, true, v1::ALERT_STATE_FIRING},
      {"not of this step", {Attending(1, 1)}, false, v1::ALERT_STATE_UNSPECIFIED},
      {"no attention", {Saturated(1), LayerStatistics()}, true, v1::ALERT_STATE_UNSPECIFIED},
      {"not measured", {}, true, v1::ALERT_STATE_UNSPECIFIED},
      {"single steps have no entropy", {Attending(-kInfinity, NAN)}, true, v1::ALERT_STATE_RESOLVED},
      {"below", {Attending(1, std::nextafter(0.25, 0))}, true, v1::ALERT_STATE_FIRING},
      {"again within", {Saturated(1), Attending(-100, 1)}, true, v1::ALERT_STATE_RESOLVED},
  };
  for (const auto& step : steps) {
    harness.record().layers = step.layers;
    harness.record().report_tensors = step.reported;
    EXPECT_EQ(StateAfter(&harness), step.state) << step.what;
  }
}

TEST(AttentionTest, AnEntropyOfZeroIsNoLimit) {
  DetectorHarness harness(AttentionRule(50, 0));
  harness.record().layers = {Attending(10, 0)};
  EXPECT_THAT(harness.Step(), IsEmpty());
}

TEST(FrozenTest, AGradientThatIsZeroIsToldWithItsTensorAndSinceWhen) {
  DetectorHarness harness(FrozenRule());
  harness.HealthySteps(7);
  harness.SetTensorNorm(kDenseBias, 0);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.tensor(), "dense1.bias");
  EXPECT_EQ(alert.value(), 1);
  EXPECT_EQ(alert.limit(), 0);
  EXPECT_EQ(alert.summary(), "the gradient of dense1.bias has been zero in all elements since step 7");
  EXPECT_THAT(Diagnosis(alert), HasSubstr("It last moved at step 6."));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("gradwatch adjust job --layer-statistics true"));
  EXPECT_THAT(Diagnosis(alert), HasSubstr("`gradwatch watch job -o json` then shows under \"layers\""));
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_RESOLVED);
}

TEST(FrozenTest, TheOneThatHasBeenFrozenForLongestIsNamed) {
  v1::RuleSet rules = FrozenRule();
  rules.mutable_rules(0)->set_for_steps(5);
  DetectorHarness harness(rules);
  std::vector<v1::Alert> alerts;
  for (int step = 0; step < 5; ++step) {
    harness.tensor(kDenseWeight).update_norm = 0;
    if (step >= 2) harness.SetTensorNorm(kInput, 0);
    alerts = harness.Step();
  }
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0].state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(alerts[0].value(), 2);
  EXPECT_EQ(alerts[0].summary(), "the update of dense1.weight has been zero in all elements since step 0");
  EXPECT_THAT(Diagnosis(alerts[0]), HasSubstr("2 of 5 tensors"));
  EXPECT_THAT(Diagnosis(alerts[0]), HasSubstr("has not moved since the job began"));
  EXPECT_THAT(Diagnosis(alerts[0]), HasSubstr("learning rate is 0.5"));
}

TEST(FrozenTest, AShareOfTheTensorsIsJudgedByItself) {
  v1::RuleSet rules = FrozenRule();
  rules.mutable_rules(0)->mutable_frozen()->set_max_share(0.4);
  DetectorHarness harness(rules);
  harness.Step();
  const struct {
    const char* what;
    int zero, nan;  // of five tensors
    v1::AlertState state;
  } steps[] = {
      {"just the share", 2, 0, v1::ALERT_STATE_UNSPECIFIED},
      {"above it", 3, 0, v1::ALERT_STATE_FIRING},
      {"may be above it", 2, 1, v1::ALERT_STATE_UNSPECIFIED},
      {"below it, whatever the rest is", 1, 1, v1::ALERT_STATE_RESOLVED},
  };
  for (const auto& step : steps) {
    for (int i = 0; i < step.zero; ++i) harness.SetTensorNorm(i, 0);
    // Elements that are not finite, of a step whose gradient as a whole is.
    for (int i = 0; i < step.nan; ++i) harness.tensor(step.zero + i).nan_count = 1;
    const std::vector<v1::Alert> alerts = harness.Step();
    EXPECT_EQ(alerts.empty() ? v1::ALERT_STATE_UNSPECIFIED : alerts[0].state(), step.state) << step.what;
    if (step.state != v1::ALERT_STATE_FIRING) continue;
    EXPECT_EQ(alerts.at(0).value(), 3);
    EXPECT_EQ(alerts.at(0).limit(), 2);
    EXPECT_THAT(Diagnosis(alerts.at(0)), HasSubstr("3 of 5 tensors"));
    // They moved before: that is lost, and a rate of the running job does not bring it back.
    EXPECT_THAT(Diagnosis(alerts.at(0)), HasSubstr("Dead units do not come back"));
    EXPECT_THAT(Diagnosis(alerts.at(0)), HasSubstr("gradwatch submit SPEC --set controls.learning_rate_scale=0.1"));
  }
}

TEST(FrozenTest, AHigherRateIsACureOnlyOfOneThatWasLowered) {
  for (const double rate : {0.5, 0.06, 0.05, 1e-6}) {
    DetectorHarness harness(FrozenRule());
    harness.HealthySteps(40);  // with a rate of 0.5
    harness.record().learning_rate = rate;
    harness.record().learning_rate_scale = 0.25;
    harness.record().clip_in_force.shared = {1e-9, v1::CLIP_MODE_GLOBAL_NORM, false};
    harness.tensor(kDenseWeight).update_norm = 0;
    const std::string diagnosis = Diagnosis(harness.Step().at(0));
    EXPECT_THAT(diagnosis, HasSubstr("too small to change weights of norm 10"));
    if (rate > 0.05) {
      EXPECT_THAT(diagnosis, Not(HasSubstr("gradwatch adjust"))) << rate;
      EXPECT_THAT(diagnosis, HasSubstr("Clipping is on: the global norm is at most 1e-09. Look whether"));
    } else {
      EXPECT_THAT(diagnosis, HasSubstr("The learning rate was 0.5 before"));
      EXPECT_THAT(diagnosis, HasSubstr("gradwatch adjust job --lr-scale 2.5")) << "ten times that in force";
    }
  }
}

TEST(FrozenTest, AnUpdateOfZeroCountsOnlyWhereThereShouldBeOne) {
  const struct {
    const char* what;
    double learning_rate;
    v1::StatisticsLevel level;
    v1::ClipOutcome::Action action;
    bool fires;
  } cases[] = {
      {"should", 0.1, v1::STATISTICS_LEVEL_FULL, v1::ClipOutcome::ACTION_NOT_NEEDED, true},
      {"clipped", 0.1, v1::STATISTICS_LEVEL_FULL, v1::ClipOutcome::ACTION_CLIPPED, true},
      {"no rate", 0, v1::STATISTICS_LEVEL_FULL, v1::ClipOutcome::ACTION_NOT_NEEDED, false},
      {"not measured", 0.1, v1::STATISTICS_LEVEL_NORM, v1::ClipOutcome::ACTION_NOT_NEEDED, false},
      {"skipped", 0.1, v1::STATISTICS_LEVEL_FULL, v1::ClipOutcome::ACTION_SKIPPED, false},
      {"stopped", 0.1, v1::STATISTICS_LEVEL_FULL, v1::ClipOutcome::ACTION_STOPPED, false},
  };
  for (const auto& c : cases) {
    DetectorHarness harness(FrozenRule());
    for (TensorStatistics& tensor : harness.record().tensors) tensor.update_norm = 0;
    harness.record().learning_rate = c.learning_rate;
    harness.record().level = c.level;
    harness.clip().action = c.action;
    EXPECT_EQ(harness.Step().size(), c.fires ? 1u : 0u) << c.what;
  }
}

// Where the level falls, or steps are skipped, nobody knows whether a tensor whose update was zero moves again.
TEST(FrozenTest, AnUpdateThatIsNotMeasuredDoesNotEndTheAlert) {
  DetectorHarness harness(FrozenRule());
  harness.tensor(kRecurrent).update_norm = 0;
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_FIRING);
  for (int i = 0; i < 5; ++i) {
    harness.record().level = v1::STATISTICS_LEVEL_NORM;
    EXPECT_THAT(harness.Step(), IsEmpty());
  }
  harness.clip().action = v1::ClipOutcome::ACTION_SKIPPED;
  EXPECT_THAT(harness.Step(), IsEmpty());
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_RESOLVED);
}

TEST(FrozenTest, GradientsAreJudgedAtEveryLevelThatHasThem) {
  DetectorHarness harness(FrozenRule());
  harness.record().level = v1::STATISTICS_LEVEL_NORM;
  harness.SetTensorNorm(kInput, 0);
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(StateAfter(&harness), v1::ALERT_STATE_RESOLVED);
  // The network has a gradient and none of its tensors: they were not measured.
  for (TensorStatistics& tensor : harness.record().tensors) tensor.l2_norm = 0;
  EXPECT_THAT(harness.Step(), IsEmpty());
}

TEST(FrozenTest, TheFiniteRestOfABrokenGradientIsNoZero) {
  DetectorHarness harness(FrozenRule());
  harness.SetTensorNorm(kInput, 0);
  harness.BreakTensor(kInput);
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.SetTensorNorm(kInput, 0);
  harness.record().loss = kInfinity;
  EXPECT_THAT(harness.Step(), IsEmpty());
}

TEST(FrozenTest, ALossOfZeroAsksForNoMovement) {
  DetectorHarness harness(FrozenRule());
  harness.SetNorm(0);
  harness.record().loss = 0;
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.SetNorm(0);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.value(), 5);
}

TEST(LayerRulesTest, QuietStepsAllocateNothing) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  v1::RuleSet rules;
  rules.set_preset("none");
  for (const v1::RuleSet& one : {VanishingRule(), GrowthRule(100), SaturationRule(), AttentionRule(), FrozenRule()}) {
    *rules.add_rules() = one.rules(0);
    rules.mutable_rules(rules.rules_size() - 1)->set_name("r" + std::to_string(rules.rules_size()));
  }
  Detector detector(rules, testing::HarnessTensors(), AlertIdentity{"job", "uid", 1});
  StepRecord record;
  record.tensors.resize(testing::HarnessTensors().size());
  for (TensorStatistics& tensor : record.tensors) {
    tensor.l2_norm = tensor.mean_abs = tensor.weight_norm = 1;
    tensor.update_norm = 0.01;
  }
  record.loss = record.learning_rate = 1;
  record.grad_norm = std::sqrt(5);
  record.layers = {Saturated(0.1), Dead(0.2), Attending(5, 0.5), Backward(1)};
  std::vector<v1::Alert> alerts;
  const int64_t before = testing::AllocationCount();
  for (record.step = 0; record.step < 200; ++record.step) {
    detector.JudgeGradients(record, absl::UnixEpoch(), &alerts);
    detector.JudgeUpdate(record, absl::UnixEpoch(), &alerts);
  }
  EXPECT_EQ(testing::AllocationCount(), before);
  EXPECT_THAT(alerts, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::core
