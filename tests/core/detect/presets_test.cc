#include "core/detect/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/detect/detector.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

v1::RuleSet Resolved(const std::string& preset) {
  v1::RuleSet rules;
  rules.set_preset(preset);
  return ResolveRules(rules);
}

// By name.
std::map<std::string, v1::Rule> RulesOf(const std::string& preset) {
  const v1::RuleSet resolved = Resolved(preset);
  std::map<std::string, v1::Rule> rules;
  for (const v1::Rule& rule : resolved.rules()) rules[rule.name()] = rule;
  return rules;
}

TEST(PresetsTest, AllCanBeReadAndAreGood) {
  const std::vector<std::string> names = PresetNames();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  EXPECT_TRUE(std::is_sorted(names.begin() + 2, names.end()));
  for (const std::string& name : names) {
    EXPECT_TRUE(IsPreset(name)) << name;
    EXPECT_EQ(PresetRules(name).rules().empty(), name == kNoPreset) << name;
    EXPECT_EQ(PresetRules(name).preset(), "") << name;
    v1::RuleSet rules;
    rules.set_preset(name);
    EXPECT_THAT(ValidateRules(rules), IsOk()) << name;
    for (const v1::Rule& rule : PresetRules(name).rules()) {
      EXPECT_NE(rule.severity(), v1::SEVERITY_UNSPECIFIED) << name << " " << rule.name();
      EXPECT_NE(rule.condition_case(), v1::Rule::CONDITION_NOT_SET) << name << " " << rule.name();
      EXPECT_EQ(rule.has_stall(), rule.name() == "stall") << name << ": the name that every job has for it";
    }
  }
  EXPECT_THAT(names, IsSupersetOf({"gradwatch", "none", "sagemaker_debugger", "autotrainer", "deepdiagnosis",
                                   "lightning", "megatron", "olmo", "composer", "axolotl", "keras", "trainscope"}));
}

TEST(PresetsTest, WhatIsNoneHasNoRules) {
  EXPECT_FALSE(IsPreset(""));
  EXPECT_FALSE(IsPreset("Gradwatch"));
  EXPECT_THAT(PresetRules("Gradwatch").rules(), IsEmpty());
  EXPECT_EQ(&PresetRules(""), &PresetRules(kDefaultPreset));
}

TEST(PresetsTest, SeveritiesOfTheDefaultRules) {
  const std::set<std::string> warnings = {"grad_norm_spike", "loss_jump", "loss_spike", "first_step", "dead_network"};
  for (const auto& [name, rule] : RulesOf("gradwatch")) {
    EXPECT_EQ(rule.severity(), warnings.count(name) > 0 ? v1::SEVERITY_WARNING : v1::SEVERITY_CRITICAL) << name;
  }
}

// The factor that a norm must exceed where the window has no spread of its own.
double SmallestFactor(const v1::NormSpikeCondition& spike) {
  return std::exp(spike.max_deviations() * spike.min_deviation());
}

TEST(PresetsTest, LimitsOfTheDefaultRules) {
  const auto rules = RulesOf("gradwatch");
  const v1::Rule& exploding = rules.at("grad_norm_exploding");
  EXPECT_NEAR(SmallestFactor(exploding.norm_spike()), 100, 1e-9);
  EXPECT_EQ(exploding.norm_spike().max_deviations(), 10);
  EXPECT_EQ(exploding.norm_spike().start_factor(), 1);
  EXPECT_EQ(exploding.for_steps(), 2);
  EXPECT_EQ(exploding.within_steps(), 3);
  EXPECT_NEAR(SmallestFactor(rules.at("grad_norm_spike").norm_spike()), 20, 1e-9);
  EXPECT_EQ(rules.at("grad_norm_spike").norm_spike().max_deviations(), 8);
  EXPECT_FALSE(rules.at("grad_norm_spike").norm_spike().has_start_factor());
  EXPECT_EQ(rules.at("loss_jump").loss_jump().factor(), 5);
  EXPECT_EQ(rules.at("loss_jump").loss_jump().max_deviations(), 8);
  EXPECT_FALSE(rules.at("loss_jump").loss_jump().has_norm_factor());
  EXPECT_EQ(rules.at("loss_spike").loss_jump().factor(), 3);
  EXPECT_EQ(rules.at("loss_spike").loss_jump().max_deviations(), 2);
  EXPECT_EQ(rules.at("loss_spike").loss_jump().norm_factor(), 10);
  for (const auto& [name, rule] : rules) {
    if (rule.has_norm_spike()) {
      EXPECT_EQ(rule.norm_spike().window(), 30) << name;
    }
    if (rule.has_loss_jump()) {
      EXPECT_EQ(rule.loss_jump().window(), 30) << name;
    }
    if (name != "grad_norm_exploding") {
      EXPECT_EQ(rule.within_steps(), name == "dead_network" ? 20 : 1) << name;
    }
    EXPECT_TRUE(rule.tensors().empty()) << name;
  }
}

// A rule about a series, as it was published.
struct Published {
  const char* preset;
  const char* rule;
  v1::SeriesCondition::Series series;
  v1::SeriesCondition::Baseline baseline;
  int window;
  int warm_up;
  double factor;  // 0: none
  double max_deviations;
  bool keep_out;
  int for_steps;
};

TEST(PresetsTest, SeriesOfOtherToolsAreAsPublished) {
  using Series = v1::SeriesCondition;
  const std::vector<Published> table = {
      {"lightning", "spike_detection", Series::SERIES_LOSS, Series::BASELINE_MEAN, 10, 1, 3, 0, true, 1},
      {"megatron", "spiky_loss", Series::SERIES_LOSS, Series::BASELINE_FIRST_LARGEST, 100, 100, 10, 0, false, 1},
      {"olmo", "skip_step_loss", Series::SERIES_LOSS, Series::BASELINE_MEAN, 128, 63, 0, 6, false, 1},
      {"olmo", "skip_step_grad_norm", Series::SERIES_GRAD_NORM, Series::BASELINE_MEAN, 128, 63, 0, 6, false, 1},
      {"composer", "kill_loss_spike", Series::SERIES_LOSS, Series::BASELINE_MEAN, 100, 100, 2, 0, false, 5},
      {"entrenar", "loss_spike", Series::SERIES_LOSS, Series::BASELINE_MOVING, 100, 10, 3, 0, true, 1},
      {"spikeguard", "spike_guard", Series::SERIES_LOSS, Series::BASELINE_MOVING, 100, 10, 2, 0, true, 1},
      {"ignite", "relative_norm", Series::SERIES_GRAD_NORM, Series::BASELINE_MEAN, 9, 9, 9, 0, false, 1},
      {"trainpulse", "loss_spike", Series::SERIES_LOSS, Series::BASELINE_MEAN, 50, 50, 5, 0, false, 1},
      {"trainscope", "z_score", Series::SERIES_LOSS, Series::BASELINE_MEAN, 200, 30, 0, 3.5, false, 1},
  };
  for (const Published& published : table) {
    const v1::Rule rule = RulesOf(published.preset)[published.rule];
    const v1::SeriesCondition& series = rule.series();
    const std::string what = std::string(published.preset) + " " + published.rule;
    EXPECT_EQ(series.series(), published.series) << what;
    EXPECT_EQ(series.baseline(), published.baseline) << what;
    EXPECT_EQ(series.window(), published.window) << what;
    EXPECT_EQ(series.warm_up(), published.warm_up) << what;
    EXPECT_EQ(series.factor(), published.factor) << what;
    EXPECT_EQ(series.max_deviations(), published.max_deviations) << what;
    EXPECT_EQ(series.keep_out(), published.keep_out) << what;
    EXPECT_FALSE(series.has_limit()) << what;
    EXPECT_EQ(rule.for_steps(), published.for_steps) << what;
  }
}

// ignite: over 5 times the mean of ten that has the value itself in it.
TEST(PresetsTest, NineTimesTheMeanOfNineIsFiveTimesTheMeanOfTen) {
  const v1::SeriesCondition series = RulesOf("ignite")["relative_norm"].series();
  for (const double mean : {0.01, 1.0, 300.0}) {
    for (const double value : {8.9 * mean, 9.1 * mean}) {
      const bool theirs = value > 5 * (series.window() * mean + value) / (series.window() + 1);
      EXPECT_EQ(value > series.factor() * mean, theirs) << value;
    }
  }
}

TEST(PresetsTest, LimitsOfOtherToolsAreAsPublished) {
  const auto sagemaker = RulesOf("sagemaker_debugger");
  EXPECT_TRUE(sagemaker.at("exploding_tensor").has_non_finite());
  EXPECT_EQ(sagemaker.at("vanishing_gradient").vanishing().min_mean_abs(), 1e-7);
  EXPECT_EQ(sagemaker.at("weight_update_ratio").update_ratio().max_ratio(), 10);
  EXPECT_EQ(sagemaker.at("stall").stall().seconds(), 1800);
  EXPECT_EQ(RulesOf("deepdiagnosis")["learning_rate"].update_ratio().max_ratio(), 0.1);
  EXPECT_EQ(RulesOf("deepdiagnosis")["vanishing_gradient"].vanishing().min_mean_abs(), 1e-7);
  EXPECT_TRUE(RulesOf("autotrainer")["explode"].has_non_finite());
  EXPECT_EQ(RulesOf("axolotl")["loss_watchdog"].series().limit(), 5);
  EXPECT_EQ(RulesOf("axolotl")["loss_watchdog"].for_steps(), 3);
  EXPECT_EQ(RulesOf("trainpulse")["gradient_explosion"].norm_limit().max_norm(), 100);
  EXPECT_EQ(RulesOf("ignite")["max_norm"].norm_limit().max_norm(), 100);
}

// What is not finite and nothing else: no double is above the largest one.
TEST(PresetsTest, NanRulesAboutTheLossHaveTheLargestLimit) {
  const std::map<std::string, std::string> rules = {{"keras", "terminate_on_nan"},
                                                    {"composer", "nan_monitor"},
                                                    {"olmo", "non_finite_loss"},
                                                    {"trainscope", "nan_collapse"}};
  for (const auto& [preset, rule] : rules) {
    const v1::SeriesCondition series = RulesOf(preset)[rule].series();
    EXPECT_EQ(series.series(), v1::SeriesCondition::SERIES_LOSS) << preset;
    EXPECT_EQ(series.limit(), std::numeric_limits<double>::max()) << preset;
    EXPECT_EQ(series.baseline(), v1::SeriesCondition::BASELINE_UNSPECIFIED) << preset;
  }
}

}  // namespace
}  // namespace gradwatch::core
