#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::RuleSet Parse(const std::string& text) {
  v1::RuleSet rules;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rules)) << text;
  return rules;
}

TEST(ValidateRulesTest, AcceptsWhatIsServed) {
  EXPECT_THAT(ValidateRules(v1::RuleSet()), IsOk());
  EXPECT_THAT(ValidateRules(Parse("preset: 'gradwatch'")), IsOk());
  EXPECT_THAT(ValidateRules(Parse("preset: 'none'")), IsOk());
  EXPECT_THAT(ValidateRules(ResolveRules(v1::RuleSet())), IsOk());
  EXPECT_THAT(ValidateRules(Parse(R"(
    rules { name: "a" severity: SEVERITY_INFO non_finite {} tensors: "rnn*" }
    rules { name: "b-1" norm_limit { max_norm: 1e-3 per_tensor: true } tensors: "*.weight" }
    rules { name: "c_2" norm_spike { max_deviations: 0.5 window: 10 min_deviation: 1e-3 } for_steps: 3 }
    rules { name: "D" loss_jump { factor: 1.001 window: 5 } resolve_after_steps: 1 }
    rules { name: "stall" stall { seconds: 90 } severity: SEVERITY_CRITICAL }
    rules { name: "e" update_ratio { max_ratio: 5 } tensors: "*" }
    rules { name: "f" vanishing {} tensors: "*" for_steps: 2 within_steps: 64 }
    rules { name: "g" frozen {} tensors: "*" for_steps: 100 }
    rules { name: "h" norm_growth {} for_steps: 100 within_steps: 100 }
    rules { name: "i" first_step {} for_steps: 1 }
    rules { name: "j" series { limit: -3 } }
    rules { name: "k" series { baseline: BASELINE_LOWEST factor: 0.5 limit: 7 } }
    rules { name: "l" series { baseline: BASELINE_MOVING max_deviations: 4 window: 50 warm_up: 50 } }
    rules { name: "joint_growth" off: true }
    rules { name: "first_step" off: true }
    rules { name: "norm_growth" off: true for_steps: 7 norm_growth {} }
    rules { name: "loss_jump" off: true norm_limit { max_norm: 9 } })")),
              IsOk());
}

struct BadRule {
  std::string field;
  std::string part;  // of the description
  std::string rule;  // of a set whose first rule is a good one, "good"
};

void ExpectRefused(const std::vector<BadRule>& cases) {
  for (const BadRule& bad : cases) {
    const auto status = ValidateRules(Parse("rules { name: 'good' non_finite {} } rules { " + bad.rule + " }"));
    const auto violations = GetFieldViolations(status);
    ASSERT_EQ(violations.size(), 1u) << bad.rule << ": " << status;
    EXPECT_EQ(violations[0].field, bad.field) << bad.rule;
    EXPECT_THAT(violations[0].description, HasSubstr(bad.part)) << bad.rule;
  }
}

// The ranges of single fields are judged by the comments of the protobuf files, in rule_fields_test.cc.
TEST(ValidateRulesTest, NamesTheFieldAndTheValue) {
  ExpectRefused({
      {"rules[1].name", "\"\"", "non_finite {}"},
      {"rules[1].name", "\"a b\"", "name: 'a b' non_finite {}"},
      {"rules[1].name", "letters", "name: '" + std::string(64, 'x') + "' non_finite {}"},
      {"rules[1].name", "uses itself", "name: 'alerts_truncated' non_finite {}"},
      {"rules[1].name", "uses itself", "name: 'alerts_truncated' stall {}"},
      {"rules[1].name", "twice: \"good\"", "name: 'good' non_finite {}"},
      {"rules[1].condition",
       "must be set: there is no rule \"a\" to change, or to take out with off: true; the preset has", "name: 'a'"},
      {"rules[1].condition", "no rule \"los_jump\"", "name: 'los_jump' severity: SEVERITY_CRITICAL"},
      {"rules[1].condition", "must be set", "name: 'a' off: false"},
      {"rules[1].stall.seconds", "is 0.5", "name: 'a' stall { seconds: 0.5 }"},
      {"rules[1].stall.seconds", "is 2e+06", "name: 'a' stall { seconds: 2e6 }"},
      {"rules[1].for_steps", "no meaning", "name: 'a' stall {} for_steps: 2"},
      {"rules[1].within_steps", "no meaning", "name: 'a' stall {} within_steps: 2"},
      {"rules[1].resolve_after_steps", "no meaning", "name: 'a' stall {} resolve_after_steps: 2"},
      {"rules[2].stall", "\"a\" is one", "name: 'a' stall {} } rules { name: 'b' stall {}"},
      {"rules[1].name", "name of the server's", "name: 'stall' non_finite {}"},
      {"rules[1].for_steps", "is 0", "name: 'a' non_finite {} for_steps: 0"},
      {"rules[1].for_steps", "one step alone", "name: 'a' first_step {} for_steps: 2"},
      {"rules[1].within_steps", "3, to 64, is 2", "name: 'a' non_finite {} for_steps: 3 within_steps: 2"},
      {"rules[1].within_steps", "is 65", "name: 'a' non_finite {} for_steps: 3 within_steps: 65"},
      {"rules[1].within_steps", "is 0", "name: 'a' non_finite {} within_steps: 0"},
      {"rules[1].resolve_after_steps", "is -1", "name: 'a' non_finite {} resolve_after_steps: -1"},
      {"rules[1].norm_limit.max_norm", "finite and above 0, is 0", "name: 'a' norm_limit {}"},
      {"rules[1].norm_spike.window", "in 10 to 10000, is 9", "name: 'a' norm_spike { window: 9 }"},
  });
}

// Nobody counts rules: the index is for programs.
TEST(ValidateRulesTest, NamesTheRuleBesideItsIndex) {
  const std::pair<const char*, const char*> cases[] = {
      {"name: 'mine' norm_limit {}", "rules[1].norm_limit.max_norm: must be finite and above 0, is 0 (rule \"mine\")"},
      {"name: 'loss_jump' for_steps: 0", "rules[1].for_steps: must be at least 1, is 0 (rule \"loss_jump\")"},
      {"name: 'a' stall {} } rules { name: 'b' stall {}", "and \"a\" is one (rule \"b\")"},
      {"name: 'good' non_finite {}", "rules[1].name: is there twice: \"good\""},
      {"norm_limit {}", "rules[1].norm_limit.max_norm: must be finite and above 0, is 0"},
  };
  for (const auto& [rule, message] : cases) {
    const std::string told(
        ValidateRules(Parse("rules { name: 'good' non_finite {} } rules { " + std::string(rule) + " }")).message());
    EXPECT_THAT(told, ::testing::EndsWith(message)) << rule;
  }
}

// It is written to be on again some day, and then as here.
TEST(ValidateRulesTest, ARuleThatIsOffIsCheckedAsOthers) {
  ExpectRefused({
      {"rules[1].loss_jump.factor", "is 0", "name: 'loss_jump' off: true loss_jump { factor: 0 }"},
      {"rules[1].for_steps", "is 0", "name: 'norm_growth' off: true for_steps: 0"},
      {"rules[1].tensors", "whole network", "name: 'loss_jump' off: true tensors: 'rnn*'"},
      {"rules[1].norm_limit.max_norm", "is 0", "name: 'loss_jump' off: true norm_limit {}"},
  });
}

TEST(ValidateRulesTest, RefusesGlobsWhereNoTensorIsLookedAt) {
  ExpectRefused({
      {"rules[1].tensors", "whole network", "name: 'a' stall {} tensors: 'rnn*'"},
      {"rules[1].tensors", "per_tensor", "name: 'a' norm_limit { max_norm: 1 } tensors: 'rnn*'"},
      {"rules[1].tensors", "per_tensor", "name: 'a' norm_spike {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' loss_jump {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' drift {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' overshoot {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' saturation {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' growth {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' attention {} tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' series { limit: 1 } tensors: 'rnn*'"},
      {"rules[1].tensors", "has 257", "name: 'a' non_finite {} tensors: '" + std::string(257, 'x') + "'"},
  });
}

TEST(ValidateRulesTest, RefusesLimitsThatNobodyReadsOrNothingExceeds) {
  ExpectRefused({
      {"rules[1].norm_spike.max_deviations", "never", "name: 'a' norm_spike { max_deviations: 20000 }"},
      {"rules[1].norm_spike.max_deviations", "never", "name: 'a' norm_spike { min_deviation: 500 }"},
      {"rules[1].series.limit", "no other limit", "name: 'a' series {}"},
      {"rules[1].series.limit", "no other limit", "name: 'a' series { series: SERIES_GRAD_NORM window: 5 }"},
      {"rules[1].series.factor", "needs a baseline", "name: 'a' series { limit: 1 factor: 2 }"},
      {"rules[1].series.max_deviations", "needs a baseline", "name: 'a' series { max_deviations: 2 }"},
      {"rules[1].series.baseline", "needs factor", "name: 'a' series { baseline: BASELINE_MEAN limit: 1 }"},
      {"rules[1].series.max_deviations", "no deviation",
       "name: 'a' series { baseline: BASELINE_LOWEST max_deviations: 2 }"},
      {"rules[1].series.max_deviations", "no deviation",
       "name: 'a' series { baseline: BASELINE_FIRST_LARGEST max_deviations: 2 factor: 3 }"},
      {"rules[1].series.warm_up", "window, 20, is 21",
       "name: 'a' series { baseline: BASELINE_MEAN factor: 2 window: 20 warm_up: 21 }"},
      {"rules[1].series.warm_up", "window, 100, is 101",
       "name: 'a' series { baseline: BASELINE_MEAN factor: 2 warm_up: 101 }"},
  });
}

TEST(ValidateRulesTest, RefusesWhatTheTextFormCannotSay) {
  v1::RuleSet rules = Parse("rules { name: 'a' series { limit: 1 } }");
  rules.mutable_rules(0)->set_severity(static_cast<v1::Severity>(9));
  rules.mutable_rules(0)->mutable_series()->set_series(static_cast<v1::SeriesCondition::Series>(9));
  rules.mutable_rules(0)->mutable_series()->set_baseline(static_cast<v1::SeriesCondition::Baseline>(-1));
  std::vector<std::string> fields;
  for (const FieldViolation& violation : GetFieldViolations(ValidateRules(rules))) fields.push_back(violation.field);
  EXPECT_THAT(fields, ElementsAre("rules[0].severity", "rules[0].series.series", "rules[0].series.baseline"));
}

TEST(ValidateRulesTest, NamesAllPresetsWhereOneIsUnknown) {
  // Not what is taken out of it, or changed, as well: nobody knows what it has.
  const auto violations = GetFieldViolations(ValidateRules(
      Parse("preset: 'x' rules { name: 'a' off: true } rules { name: 'b' severity: SEVERITY_CRITICAL }")));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field, "preset");
  for (const std::string& name : PresetNames()) EXPECT_THAT(violations[0].description, HasSubstr('"' + name + '"'));
}

TEST(ValidateRulesTest, NamesTheRulesOfThePresetWhereNoneIsTakenOutOrChanged) {
  const auto refusal = [](const std::string& text) {
    const auto violations = GetFieldViolations(ValidateRules(Parse(text)));
    return violations.size() == 1 ? violations[0].field + " " + violations[0].description : "";
  };
  const std::string unknown = refusal("rules { name: 'good' non_finite {} } rules { name: 'los_jump' off: true }");
  EXPECT_THAT(unknown, HasSubstr("rules[1].name"));
  EXPECT_THAT(unknown, HasSubstr("\"los_jump\""));
  for (const v1::Rule& rule : PresetRules("").rules()) EXPECT_THAT(unknown, HasSubstr('"' + rule.name() + '"'));
  const std::string changed = refusal("rules { name: 'los_jump' severity: SEVERITY_CRITICAL }");
  EXPECT_THAT(changed, HasSubstr("rules[0].condition must be set: there is no rule \"los_jump\" to change"));
  EXPECT_THAT(changed, HasSubstr("\"loss_jump\""));
  EXPECT_THAT(refusal("preset: 'none' rules { name: 'a' }"), HasSubstr("the preset has none"));
  // Neither is one of another preset there, nor one of the set's own.
  EXPECT_THAT(refusal("preset: 'keras' rules { name: 'loss_jump' off: true }"), HasSubstr("\"terminate_on_nan\""));
  EXPECT_THAT(refusal("preset: 'none' rules { name: 'loss_jump' off: true }"), HasSubstr("the preset has none"));
  EXPECT_NE(refusal("rules { name: 'stall' off: true }"), "");
}

TEST(ValidateRulesTest, ANameThatIsNearOneOfThePresetIsToldIt) {
  const auto refusal = [](const std::string& text) {
    return std::string(ValidateRules(Parse("rules { " + text + " }")).message());
  };
  for (const char* const name : {"los_jump", "losss_jump", "loss_junp", "loss_jmup", "Loss_Jump"}) {
    for (const char* const rest : {"severity: SEVERITY_INFO", "off: true"}) {
      EXPECT_THAT(refusal("name: '" + std::string(name) + "' " + rest), HasSubstr("; did you mean \"loss_jump\"?"))
          << name;
    }
  }
  for (const char* const name : {"lo_jump", "loss", "mine", "ssol_jump"}) {
    EXPECT_THAT(refusal("name: '" + std::string(name) + "'"), ::testing::Not(HasSubstr("did you mean"))) << name;
  }
}

// `count` rules with names of their own, r0 and on.
v1::RuleSet Many(int count) {
  v1::RuleSet rules;
  for (int i = 0; i < count; ++i) {
    v1::Rule* rule = rules.add_rules();
    rule->set_name("r" + std::to_string(i));
    rule->mutable_non_finite();
  }
  return rules;
}

TEST(ValidateRulesTest, CountsTheRulesOfThePreset) {
  const int preset = PresetRules("").rules_size();
  EXPECT_THAT(ValidateRules(Many(64 - preset)), IsOk());
  EXPECT_EQ(GetFieldViolations(ValidateRules(Many(65 - preset)))[0].field, "rules");
  v1::RuleSet replacing = Many(65 - preset);
  replacing.mutable_rules(0)->set_name("loss_jump");
  EXPECT_THAT(ValidateRules(replacing), IsOk());
  v1::RuleSet without = Many(64);
  without.set_preset("none");
  EXPECT_THAT(ValidateRules(without), IsOk());
  v1::RuleSet too_many = Many(65);
  too_many.set_preset("none");
  EXPECT_EQ(GetFieldViolations(ValidateRules(too_many))[0].field, "rules");
}

TEST(ValidateRulesTest, CountsTheStallRuleOfThePreset) {
  const std::string preset = "preset: 'sagemaker_debugger' rules { name: ";
  const auto violations = GetFieldViolations(ValidateRules(Parse(preset + "'a' stall {} }")));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field, "rules[0].stall");
  EXPECT_THAT(violations[0].description, HasSubstr("\"stall\""));
  EXPECT_THAT(ValidateRules(Parse(preset + "'stall' stall { seconds: 60 } }")), IsOk());
  EXPECT_THAT(ValidateRules(Parse(preset + "'a' stall {} } rules { name: 'stall' off: true }")), IsOk());
}

TEST(ValidateRulesTest, TellsAllViolationsAtOnce) {
  const auto status =
      ValidateRules(Parse("preset: 'x' rules { for_steps: 0 } rules { name: 'a' drift { slack: -1 limit: 0 } } "
                          "rules { name: 'a' non_finite {} }"));
  EXPECT_EQ(GetFieldViolations(status).size(), 6u) << status;
}

std::vector<std::string> NamesOf(const v1::RuleSet& rules) {
  std::vector<std::string> names;
  for (const v1::Rule& rule : rules.rules()) names.push_back(rule.name());
  return names;
}

const v1::Rule& Named(const std::string& name, const v1::RuleSet& rules) {
  for (const v1::Rule& rule : rules.rules()) {
    if (rule.name() == name) return rule;
  }
  ADD_FAILURE() << "no rule " << name;
  return rules.rules(0);
}

TEST(ResolveRulesTest, AnEmptySetIsTheDefaultPreset) {
  const v1::RuleSet resolved = ResolveRules(v1::RuleSet());
  EXPECT_THAT(NamesOf(resolved),
              ElementsAre("non_finite", "grad_norm_exploding", "grad_norm_spike", "loss_jump", "loss_spike",
                          "loss_divergence", "loss_collapse", "norm_growth", "joint_growth", "first_step",
                          "update_overshoot", "update_growth", "dead_network"));
  EXPECT_EQ(resolved.DebugString(), ResolveRules(Parse("preset: 'gradwatch'")).DebugString());
  EXPECT_EQ(ResolveRules(Parse("preset: 'none'")).rules_size(), 0);
}

TEST(ResolveRulesTest, RulesAreAddedToThoseOfThePreset) {
  const v1::RuleSet defaults = ResolveRules(v1::RuleSet());
  const v1::RuleSet resolved = ResolveRules(Parse("rules { name: 'mine' norm_limit { max_norm: 1 } }"));
  ASSERT_EQ(resolved.rules_size(), defaults.rules_size() + 1);
  for (int i = 0; i < defaults.rules_size(); ++i) {
    EXPECT_EQ(resolved.rules(i).DebugString(), defaults.rules(i).DebugString());
  }
  EXPECT_EQ(resolved.rules(defaults.rules_size()).name(), "mine");
}

TEST(ResolveRulesTest, ARuleOfTheSameNameTakesThePlaceOfThatOfThePreset) {
  const v1::RuleSet resolved =
      ResolveRules(Parse("rules { name: 'first' non_finite {} } rules { name: 'loss_jump' loss_jump { factor: 9 } }"));
  std::vector<std::string> names = NamesOf(ResolveRules(v1::RuleSet()));
  names.push_back("first");
  EXPECT_EQ(NamesOf(resolved), names);
  const v1::LossJumpCondition& jump = Named("loss_jump", resolved).loss_jump();
  EXPECT_EQ(jump.factor(), 9);
  EXPECT_EQ(Named("loss_jump", resolved).severity(), v1::SEVERITY_WARNING);
}

// The rule of a set that has one, as the detector judges by it.
v1::Rule OnlyRule(const std::string& preset, const std::string& rule) {
  const v1::RuleSet rules = Parse("preset: '" + preset + "' rules { " + rule + " }");
  EXPECT_THAT(ValidateRules(rules), IsOk()) << rule;
  return Named(rules.rules(0).name(), ResolveRules(rules));
}

TEST(ResolveRulesTest, WhatARuleLeavesUnsetIsAsInThePresetWhereItHasTheSameCondition) {
  const v1::RuleSet defaults = ResolveRules(v1::RuleSet());
  // The rule with one number changed is the rule, with that number.
  v1::Rule spike = Named("grad_norm_spike", defaults);
  spike.mutable_norm_spike()->set_max_deviations(20);
  EXPECT_EQ(OnlyRule("", "name: 'grad_norm_spike' norm_spike { max_deviations: 20 }").DebugString(),
            spike.DebugString());
  v1::Rule exploding = Named("grad_norm_exploding", defaults);
  exploding.set_resolve_after_steps(5);
  EXPECT_EQ(OnlyRule("", "name: 'grad_norm_exploding' norm_spike {} resolve_after_steps: 5").DebugString(),
            exploding.DebugString());
  exploding = Named("grad_norm_exploding", defaults);
  exploding.set_severity(v1::SEVERITY_INFO);
  exploding.set_within_steps(4);
  EXPECT_EQ(
      OnlyRule("", "name: 'grad_norm_exploding' norm_spike {} severity: SEVERITY_INFO within_steps: 4").DebugString(),
      exploding.DebugString());
  EXPECT_EQ(OnlyRule("trainpulse", "name: 'gradient_explosion' norm_limit { per_tensor: true } tensors: 'a*'")
                .norm_limit()
                .max_norm(),
            100)
      << "required, and there";

  const v1::Rule other = OnlyRule("", "name: 'grad_norm_exploding' norm_growth {}");
  EXPECT_EQ(other.severity(), v1::SEVERITY_WARNING) << "another condition is another rule";
  EXPECT_EQ(other.for_steps(), 1);
  const v1::Rule mine = OnlyRule("none", "name: 'grad_norm_spike' norm_spike { max_deviations: 20 }");
  EXPECT_EQ(mine.norm_spike().window(), 101) << "a set without the preset has none of it";
}

TEST(ResolveRulesTest, ARuleWithNoConditionChangesWhatItSaysOfThatOfThePreset) {
  v1::Rule jump = Named("loss_jump", ResolveRules(v1::RuleSet()));
  EXPECT_EQ(OnlyRule("", "name: 'loss_jump'").DebugString(), jump.DebugString());
  jump.set_severity(v1::SEVERITY_CRITICAL);
  EXPECT_EQ(OnlyRule("", "name: 'loss_jump' severity: SEVERITY_CRITICAL").DebugString(), jump.DebugString());
  jump.set_for_steps(3);
  jump.set_within_steps(5);
  const std::string steps = "name: 'loss_jump' severity: SEVERITY_CRITICAL for_steps: 3 within_steps: 5";
  EXPECT_EQ(OnlyRule("gradwatch", steps).DebugString(), jump.DebugString());
  const v1::Rule stall = OnlyRule("sagemaker_debugger", "name: 'stall' severity: SEVERITY_INFO");
  EXPECT_EQ(stall.severity(), v1::SEVERITY_INFO);
  EXPECT_EQ(stall.stall().seconds(), 1800) << "the name of the server's, and its condition";
  EXPECT_FALSE(ValidateRules(Parse("preset: 'none' rules { name: 'loss_jump' severity: SEVERITY_INFO }")).ok());
}

TEST(ResolveRulesTest, WhatBoundsWhatARuleSaysIsNotTakenFromThePreset) {
  const v1::Rule held = OnlyRule("", "name: 'grad_norm_exploding' norm_spike {} for_steps: 5");
  EXPECT_EQ(held.for_steps(), 5);
  EXPECT_EQ(held.within_steps(), 5) << "of 3 it could not be";
  const std::string z_score = "name: 'z_score' series { window: ";  // the preset's: 200, warm_up 30
  EXPECT_EQ(OnlyRule("trainscope", z_score + "40 }").series().warm_up(), 30);
  EXPECT_EQ(OnlyRule("trainscope", z_score + "20 }").series().warm_up(), 20);
  // What the rule says itself is refused where it does not fit.
  const auto violations =
      GetFieldViolations(ValidateRules(Parse("rules { name: 'grad_norm_exploding' norm_spike {} within_steps: 1 }")));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field, "rules[0].within_steps");
  EXPECT_THAT(violations[0].description, HasSubstr("in for_steps, 2, to 64, is 1"));
}

TEST(ResolveRulesTest, OffTakesARuleOut) {
  const v1::RuleSet resolved =
      ResolveRules(Parse("rules { name: 'joint_growth' off: true } rules { name: 'loss_collapse' off: true }"));
  std::vector<std::string> names = NamesOf(ResolveRules(v1::RuleSet()));
  names.erase(std::find(names.begin(), names.end(), "joint_growth"));
  names.erase(std::find(names.begin(), names.end(), "loss_collapse"));
  EXPECT_EQ(NamesOf(resolved), names);
}

TEST(ResolveRulesTest, FillsWhatHasADefault) {
  const v1::RuleSet resolved = ResolveRules(Parse(R"(
    preset: "none"
    rules { name: "limit" norm_limit { max_norm: 1 } off: false armed_at: 7 unable: "by whoever wrote it" }
    rules { name: "jump" loss_jump {} for_steps: 3 }
    rules { name: "series" series { baseline: BASELINE_MEAN factor: 2 window: 30 } }
    rules { name: "stall" stall {} })"));
  const v1::RuleSet expected = Parse(R"(
    preset: "none"
    rules { name: "limit" severity: SEVERITY_WARNING for_steps: 1 within_steps: 1 resolve_after_steps: 20
            norm_limit { max_norm: 1 per_tensor: false } }
    rules { name: "jump" severity: SEVERITY_WARNING for_steps: 3 within_steps: 3 resolve_after_steps: 20
            loss_jump { factor: 3 window: 51 max_deviations: 3 } }
    rules { name: "series" severity: SEVERITY_WARNING for_steps: 1 within_steps: 1 resolve_after_steps: 20
            series { series: SERIES_LOSS baseline: BASELINE_MEAN factor: 2 window: 30 warm_up: 30 keep_out: false } }
    rules { name: "stall" severity: SEVERITY_WARNING stall {} })");
  EXPECT_EQ(resolved.DebugString(), expected.DebugString());
}

TEST(ResolveRulesTest, WhatIsResolvedIsGoodAndResolvesToItself) {
  std::vector<v1::RuleSet> sets = {
      v1::RuleSet(),
      Parse("rules { name: 'first_step' off: true } rules { name: 'loss_jump' non_finite {} for_steps: 99 }"),
  };
  for (const std::string& name : PresetNames()) sets.emplace_back().set_preset(name);
  for (const v1::RuleSet& rules : sets) {
    v1::RuleSet resolved = ResolveRules(rules);
    EXPECT_THAT(ValidateRules(resolved), IsOk()) << rules.DebugString();
    EXPECT_EQ(ResolveRules(resolved).DebugString(), resolved.DebugString());
    // As it is read with `rules get`.
    v1::RuleSet described = resolved;
    for (v1::Rule& rule : *described.mutable_rules()) DescribeArming(v1::Controls(), {40}, &rule);
    EXPECT_EQ(ResolveRules(described).DebugString(), resolved.DebugString());
  }
}

}  // namespace
}  // namespace gradwatch::core
