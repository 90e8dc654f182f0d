#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/detect/detector.h"

namespace gradwatch::core {
namespace {

using ::testing::HasSubstr;

// A set of one rule, with what follows its name.
v1::RuleSet Resolved(const std::string& rule) {
  v1::RuleSet rules;
  const std::string text = "preset: 'none' rules { name: 'a' " + rule + " }";
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rules)) << text;
  return ResolveRules(rules);
}

struct Case {
  std::string rule;
  int64_t after;      // ArmedAfter
  int64_t from_1000;  // armed_at of one that judges from step 1,000 on
};

const std::vector<Case>& Cases() {
  static const auto* const cases = new std::vector<Case>{
      {"non_finite {}", 0, 1000},
      {"non_finite {} for_steps: 3", 2, 1002},
      {"non_finite {} for_steps: 3 within_steps: 8", 2, 1002},
      {"norm_limit { max_norm: 1 }", 0, 1000},
      {"norm_spike {}", 20, 1020},
      {"norm_spike { window: 12 }", 12, 1012},
      {"norm_spike { window: 30 }", 20, 1020},
      {"norm_spike { window: 30 max_deviations: 8 min_deviation: 0.4 }", 20, 1000},
      {"norm_spike { window: 30 max_deviations: 8 min_deviation: 0.4 } for_steps: 2 within_steps: 3", 21, 1001},
      {"norm_spike { window: 30 per_tensor: true }", 20, 1020},
      {"loss_jump {}", 20, 1020},
      {"loss_jump { window: 5 }", 5, 1005},
      {"loss_jump { window: 30 }", 20, 1020},
      {"loss_jump { window: 30 max_deviations: 4 }", 20, 1000},
      {"update_ratio {}", 0, 1000},
      {"drift { baseline_steps: 70 }", 70, 1070},
      {"vanishing {}", 0, 1000},
      {"loss_divergence {}", 5, 1005},
      {"loss_collapse {}", 30, 1000},
      {"norm_growth {}", 3, 1003},
      {"joint_growth {}", 49, 1000},
      {"overshoot {}", 1, 1001},
      {"update_growth {}", 28, 1028},
      {"no_progress { window: 300 }", 299, 1299},
      {"frozen {}", 0, 1000},
      {"clipping { window: 40 }", 39, 1039},
      {"series { limit: 1 }", 0, 1000},
      {"series { baseline: BASELINE_MEAN factor: 2 window: 60 }", 60, 1060},
      {"series { baseline: BASELINE_MOVING factor: 2 window: 60 warm_up: 10 } for_steps: 5", 14, 1014},
  };
  return *cases;
}

TEST(RuleArmingTest, SaysWhenARuleCanFireFirst) {
  for (const Case& one : Cases()) {
    v1::RuleSet rules = Resolved(one.rule);
    EXPECT_EQ(ArmedAfter(rules.rules(0)), one.after) << one.rule;
    DescribeArming(v1::Controls(), {0}, rules.mutable_rules(0));
    EXPECT_EQ(rules.rules(0).unable(), "") << one.rule;
    ASSERT_TRUE(rules.rules(0).has_armed_at()) << one.rule;
    EXPECT_EQ(rules.rules(0).armed_at(), one.after) << one.rule;
    DescribeArming(v1::Controls(), {1000}, rules.mutable_rules(0));
    EXPECT_EQ(rules.rules(0).armed_at(), one.from_1000) << one.rule;
  }
}

TEST(RuleArmingTest, WhatIsKeptForAllRulesStillNeedsItsSteps) {
  v1::RuleSet rules = Resolved("joint_growth {} for_steps: 2");
  DescribeArming(v1::Controls(), {10}, rules.mutable_rules(0));
  EXPECT_EQ(rules.rules(0).armed_at(), 50);
}

TEST(RuleArmingTest, RulesAboutStallsHaveNoStep) {
  v1::RuleSet rules = Resolved("stall {}");
  EXPECT_EQ(ArmedAfter(rules.rules(0)), 0);
  DescribeArming(v1::Controls(), {0}, rules.mutable_rules(0));
  EXPECT_FALSE(rules.rules(0).has_armed_at());
  EXPECT_EQ(rules.rules(0).unable(), "");
}

TEST(RuleArmingTest, TheFirstStepIsJudgedOnlyOnce) {
  v1::RuleSet rules = Resolved("first_step {}");
  DescribeArming(v1::Controls(), {0}, rules.mutable_rules(0));
  EXPECT_EQ(rules.rules(0).armed_at(), 0);
  EXPECT_EQ(rules.rules(0).unable(), "");
  DescribeArming(v1::Controls(), {1}, rules.mutable_rules(0));
  EXPECT_FALSE(rules.rules(0).has_armed_at());
  EXPECT_THAT(rules.rules(0).unable(), HasSubstr("step 0"));
}

struct Need {
  std::string rule;
  v1::StatisticsLevel level;  // the lowest at which it can judge
  bool with_updates = false;  // all of which only FULL lets it judge
};

TEST(RuleArmingTest, SaysWhichLevelARuleNeeds) {
  const std::vector<Need> needs = {
      {"non_finite {}", v1::STATISTICS_LEVEL_NONE},
      {"non_finite {} tensors: 'rnn*'", v1::STATISTICS_LEVEL_NORM},
      {"norm_limit { max_norm: 1 }", v1::STATISTICS_LEVEL_NONE},
      {"norm_limit { max_norm: 1 per_tensor: true }", v1::STATISTICS_LEVEL_NORM},
      {"norm_spike { per_tensor: true }", v1::STATISTICS_LEVEL_NORM},
      {"loss_jump { norm_factor: 10 }", v1::STATISTICS_LEVEL_NONE},
      {"loss_divergence {}", v1::STATISTICS_LEVEL_NONE, true},
      {"joint_growth {}", v1::STATISTICS_LEVEL_NONE, true},
      {"first_step {}", v1::STATISTICS_LEVEL_NONE, true},
      {"frozen {}", v1::STATISTICS_LEVEL_NORM, true},
      {"update_ratio {}", v1::STATISTICS_LEVEL_FULL},
      {"vanishing {}", v1::STATISTICS_LEVEL_FULL},
      {"overshoot {}", v1::STATISTICS_LEVEL_FULL},
      {"update_growth {}", v1::STATISTICS_LEVEL_FULL},
      {"series { series: SERIES_GRAD_NORM limit: 1 }", v1::STATISTICS_LEVEL_NONE},
      {"series { series: SERIES_UPDATE_RATIO limit: 1 }", v1::STATISTICS_LEVEL_FULL},
  };
  for (const Need& need : needs) {
    for (const auto level : {v1::STATISTICS_LEVEL_NONE, v1::STATISTICS_LEVEL_NORM, v1::STATISTICS_LEVEL_FULL}) {
      v1::Controls controls;
      controls.set_statistics(level);
      v1::RuleSet rules = Resolved(need.rule);
      DescribeArming(controls, {0}, rules.mutable_rules(0));
      const bool judges_all = level >= (need.with_updates ? v1::STATISTICS_LEVEL_FULL : need.level);
      EXPECT_EQ(rules.rules(0).unable().empty(), judges_all) << need.rule << " " << level;
      EXPECT_EQ(rules.rules(0).has_armed_at(), level >= need.level) << need.rule << " " << level;
    }
  }
}

TEST(RuleArmingTest, SaysInWordsWhatIsMissing) {
  v1::Controls controls;
  controls.set_statistics(v1::STATISTICS_LEVEL_NORM);
  v1::RuleSet rules = Resolved("update_ratio {}");
  DescribeArming(controls, {0}, rules.mutable_rules(0));
  EXPECT_EQ(rules.rules(0).unable(), "needs statistics level FULL, the job measures NORM");
  v1::RuleSet in_part = Resolved("joint_growth {}");
  DescribeArming(controls, {0}, in_part.mutable_rules(0));
  EXPECT_EQ(in_part.rules(0).unable(), "updates are left out: that needs statistics level FULL, the job measures NORM");
  EXPECT_TRUE(in_part.rules(0).has_armed_at());
  // It is filled anew each time.
  DescribeArming(v1::Controls(), {0}, rules.mutable_rules(0));
  EXPECT_EQ(rules.rules(0).unable(), "");
}

TEST(RuleArmingTest, ARuleJudgesWhatItNeedsFromWhenThatIsMeasured) {
  const RuleSince since = {.judged = 10, .norms = 100, .updates = 200, .layers = 300};
  const std::pair<const char*, int64_t> cases[] = {
      {"norm_limit { max_norm: 1 }", 10},
      {"loss_jump { window: 5 }", 15},
      {"norm_spike { per_tensor: true }", 120},
      {"frozen {} for_steps: 3", 102},
      {"overshoot {}", 201},
      {"series { series: SERIES_UPDATE_RATIO baseline: BASELINE_MEAN factor: 2 window: 60 }", 260},
      {"saturation {}", 300},
      {"growth {} for_steps: 3", 302},
  };
  v1::Controls controls;
  controls.set_layer_statistics(true);
  for (const auto& [rule, armed_at] : cases) {
    v1::RuleSet rules = Resolved(rule);
    DescribeArming(controls, since, rules.mutable_rules(0));
    EXPECT_EQ(rules.rules(0).armed_at(), armed_at) << rule;
  }
  v1::RuleSet later = Resolved("saturation {}");
  DescribeArming(controls, {.judged = 400, .counted = 410, .layers = 300}, later.mutable_rules(0));
  EXPECT_EQ(later.rules(0).armed_at(), 410);
}

// Of other steps nobody knows what the layers did.
TEST(RuleArmingTest, RulesAboutLayersJudgeStepsOfReportEvery) {
  v1::Controls controls;
  controls.set_layer_statistics(true);
  controls.set_report_every(10);
  v1::RuleSet rules = Resolved("saturation {} for_steps: 3");
  DescribeArming(controls, {}, rules.mutable_rules(0));
  EXPECT_EQ(rules.rules(0).armed_at(), 20);
  DescribeArming(controls, {.layers = 101}, rules.mutable_rules(0));
  EXPECT_EQ(rules.rules(0).armed_at(), 130);
  v1::RuleSet other = Resolved("norm_limit { max_norm: 1 } for_steps: 3");
  DescribeArming(controls, {.judged = 101}, other.mutable_rules(0));
  EXPECT_EQ(other.rules(0).armed_at(), 103);
}

TEST(RuleArmingTest, SaysThatLayersAreNotMeasured) {
  for (const std::string rule : {"growth {}", "saturation {}", "attention {}"}) {
    v1::RuleSet rules = Resolved(rule);
    DescribeArming(v1::Controls(), {0}, rules.mutable_rules(0));
    EXPECT_EQ(rules.rules(0).unable(), "needs layer_statistics, which is off") << rule;
    v1::Controls controls;
    controls.set_layer_statistics(true);
    DescribeArming(controls, {7}, rules.mutable_rules(0));
    EXPECT_EQ(rules.rules(0).unable(), "") << rule;
    EXPECT_EQ(rules.rules(0).armed_at(), 7) << rule;
  }
}

TEST(RuleArmingTest, SaysThatAGlobMatchesNoTensor) {
  const std::vector<std::string> names = {"dense0.weight", "dense0.bias"};
  for (const std::string glob : {"", "*", "dense0.*", "*bias", "dense0.weigh?"}) {
    v1::RuleSet rules = Resolved("non_finite {} tensors: '" + glob + "'");
    rules.mutable_rules(0)->set_armed_at(7);
    DescribeMatches(names, &rules);
    EXPECT_EQ(rules.rules(0).unable(), "") << glob;
    EXPECT_EQ(rules.rules(0).armed_at(), 7) << glob;
  }
  v1::RuleSet rules = Resolved("non_finite {} tensors: 'conv*'");
  rules.mutable_rules(0)->set_armed_at(7);
  DescribeMatches(names, &rules);
  EXPECT_EQ(rules.rules(0).unable(), "no tensor matches conv*");
  EXPECT_FALSE(rules.rules(0).has_armed_at());
  rules.mutable_rules(0)->set_unable("told before");
  DescribeMatches(names, &rules);
  EXPECT_EQ(rules.rules(0).unable(), "told before");
}

}  // namespace
}  // namespace gradwatch::core
