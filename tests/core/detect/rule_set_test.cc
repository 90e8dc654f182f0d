#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::HasSubstr;

v1::RuleSet Parse(const std::string& text) {
  v1::RuleSet rules;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rules)) << text;
  return rules;
}

TEST(ValidateRulesTest, AcceptsWhatIsServed) {
  EXPECT_THAT(ValidateRules(v1::RuleSet()), IsOk());
  EXPECT_THAT(ValidateRules(Parse("preset: 'gradwatch'")), IsOk());
  EXPECT_THAT(ValidateRules(GradwatchPreset()), IsOk());
  EXPECT_THAT(ValidateRules(ResolveRules(v1::RuleSet())), IsOk());
  EXPECT_THAT(ValidateRules(Parse(R"(
    rules { name: "a" severity: SEVERITY_INFO non_finite {} tensors: "rnn*" }
    rules { name: "b-1" norm_limit { max_norm: 1e-3 per_tensor: true } tensors: "*.weight" }
    rules { name: "c_2" norm_spike { max_deviations: 0.5 window: 10 min_deviation: 1e-3 } for_steps: 3 }
    rules { name: "D" loss_jump { factor: 1.001 window: 5 } resolve_after_steps: 1 }
    rules { name: "stall" stall { seconds: 90 } severity: SEVERITY_CRITICAL }
    rules { name: "e" update_ratio { max_ratio: 5 } tensors: "*" })")),
              IsOk());
}

struct BadRule {
  std::string field;
  std::string part;  // of the description
  std::string rule;  // of a set whose first rule is a good one, "good"
};

TEST(ValidateRulesTest, NamesTheFieldAndTheValue) {
  const std::vector<BadRule> cases = {
      {"rules[1].name", "\"\"", "non_finite {}"},
      {"rules[1].name", "\"a b\"", "name: 'a b' non_finite {}"},
      {"rules[1].name", "letters", "name: '" + std::string(64, 'x') + "' non_finite {}"},
      {"rules[1].name", "uses itself", "name: 'alerts_truncated' non_finite {}"},
      {"rules[1].name", "uses itself", "name: 'alerts_truncated' stall {}"},
      {"rules[1].name", "twice: \"good\"", "name: 'good' non_finite {}"},
      {"rules[1].condition", "must be set", "name: 'a'"},
      {"rules[1].drift", "not served yet", "name: 'a' drift {}"},
      {"rules[1].vanishing", "not served yet", "name: 'a' vanishing {}"},
      {"rules[1].growth", "not served yet", "name: 'a' growth {}"},
      {"rules[1].stall.seconds", "is 0.5", "name: 'a' stall { seconds: 0.5 }"},
      {"rules[1].stall.seconds", "is 2e+06", "name: 'a' stall { seconds: 2e6 }"},
      {"rules[1].for_steps", "no meaning", "name: 'a' stall {} for_steps: 2"},
      {"rules[1].resolve_after_steps", "no meaning", "name: 'a' stall {} resolve_after_steps: 2"},
      {"rules[1].tensors", "whole network", "name: 'a' stall {} tensors: 'rnn*'"},
      {"rules[2].stall", "twice", "name: 'a' stall {} } rules { name: 'b' stall {}"},
      {"rules[1].name", "name of the server's", "name: 'stall' non_finite {}"},
      {"rules[1].for_steps", "is 0", "name: 'a' non_finite {} for_steps: 0"},
      {"rules[1].resolve_after_steps", "is -1", "name: 'a' non_finite {} resolve_after_steps: -1"},
      {"rules[1].norm_limit.max_norm", "is 0", "name: 'a' norm_limit {}"},
      {"rules[1].norm_limit.max_norm", "inf", "name: 'a' norm_limit { max_norm: inf }"},
      {"rules[1].norm_spike.max_deviations", "is -6", "name: 'a' norm_spike { max_deviations: -6 }"},
      {"rules[1].norm_spike.max_deviations", "nan", "name: 'a' norm_spike { max_deviations: nan }"},
      {"rules[1].norm_spike.max_deviations", "never", "name: 'a' norm_spike { max_deviations: 20000 }"},
      {"rules[1].norm_spike.max_deviations", "never", "name: 'a' norm_spike { min_deviation: 500 }"},
      {"rules[1].norm_spike.window", "is 9", "name: 'a' norm_spike { window: 9 }"},
      {"rules[1].norm_spike.window", "is 10001", "name: 'a' norm_spike { window: 10001 }"},
      {"rules[1].norm_spike.min_deviation", "is 0", "name: 'a' norm_spike { min_deviation: 0 }"},
      {"rules[1].loss_jump.factor", "is 1", "name: 'a' loss_jump { factor: 1 }"},
      {"rules[1].loss_jump.factor", "inf", "name: 'a' loss_jump { factor: inf }"},
      {"rules[1].loss_jump.window", "is 4", "name: 'a' loss_jump { window: 4 }"},
      {"rules[1].update_ratio.max_ratio", "is 0", "name: 'a' update_ratio { max_ratio: 0 }"},
      {"rules[1].tensors", "per_tensor", "name: 'a' norm_limit { max_norm: 1 } tensors: 'rnn*'"},
      {"rules[1].tensors", "whole network", "name: 'a' loss_jump {} tensors: 'rnn*'"},
      {"rules[1].tensors", "has 257", "name: 'a' non_finite {} tensors: '" + std::string(257, 'x') + "'"},
  };
  for (const BadRule& bad : cases) {
    const auto status = ValidateRules(Parse("rules { name: 'good' non_finite {} } rules { " + bad.rule + " }"));
    const auto violations = GetFieldViolations(status);
    ASSERT_EQ(violations.size(), 1u) << bad.rule << ": " << status;
    EXPECT_EQ(violations[0].field, bad.field) << bad.rule;
    EXPECT_THAT(violations[0].description, HasSubstr(bad.part)) << bad.rule;
  }
}

TEST(ValidateRulesTest, RefusesWhatTheTextFormCannotSay) {
  v1::RuleSet rules = Parse("rules { name: 'a' non_finite {} }");
  rules.mutable_rules(0)->set_severity(static_cast<v1::Severity>(9));
  EXPECT_EQ(GetFieldViolations(ValidateRules(rules))[0].field, "rules[0].severity");
}

TEST(ValidateRulesTest, RefusesUnknownPresetsAndTooManyRules) {
  EXPECT_EQ(GetFieldViolations(ValidateRules(Parse("preset: 'sagemaker'")))[0].field, "preset");
  v1::RuleSet rules;
  for (int i = 0; i < 65; ++i) {
    v1::Rule* rule = rules.add_rules();
    rule->set_name("r" + std::to_string(i));
    rule->mutable_non_finite();
  }
  EXPECT_EQ(GetFieldViolations(ValidateRules(rules))[0].field, "rules");
  rules.mutable_rules()->RemoveLast();
  EXPECT_THAT(ValidateRules(rules), IsOk());
}

TEST(ValidateRulesTest, TellsAllViolationsAtOnce) {
  const auto status = ValidateRules(Parse("preset: 'x' rules { for_steps: 0 } rules { name: 'a' drift {} }"));
  EXPECT_EQ(GetFieldViolations(status).size(), 5u) << status;
}

TEST(ResolveRulesTest, NoRulesMeansTheDefaultPreset) {
  const v1::RuleSet resolved = ResolveRules(v1::RuleSet());
  EXPECT_EQ(resolved.preset(), kDefaultPreset);
  std::vector<std::string> names;
  for (const v1::Rule& rule : resolved.rules()) names.push_back(rule.name());
  EXPECT_THAT(names, ::testing::ElementsAre("non_finite", "grad_norm_exploding", "grad_norm_spike", "loss_jump",
                                            "update_overshoot", "update_ratio"));
  EXPECT_EQ(resolved.rules(0).severity(), v1::SEVERITY_CRITICAL);
}

TEST(ResolveRulesTest, FillsEveryOptionalFieldAndIsIdempotent) {
  const v1::RuleSet resolved = ResolveRules(Parse(R"(
    rules { name: "limit" norm_limit { max_norm: 1 } }
    rules { name: "spike" norm_spike {} }
    rules { name: "jump" loss_jump {} }
    rules { name: "ratio" update_ratio {} })"));
  const v1::RuleSet expected = Parse(R"(
    rules { name: "limit" severity: SEVERITY_WARNING for_steps: 1 resolve_after_steps: 20
            norm_limit { max_norm: 1 per_tensor: false } }
    rules { name: "spike" severity: SEVERITY_WARNING for_steps: 1 resolve_after_steps: 20
            norm_spike { max_deviations: 6 window: 101 min_deviation: 0.05 per_tensor: false } }
    rules { name: "jump" severity: SEVERITY_WARNING for_steps: 1 resolve_after_steps: 20
            loss_jump { factor: 3 window: 51 } }
    rules { name: "ratio" severity: SEVERITY_WARNING for_steps: 1 resolve_after_steps: 20
            update_ratio { max_ratio: 0.1 } })");
  EXPECT_EQ(resolved.DebugString(), expected.DebugString());
  EXPECT_EQ(ResolveRules(resolved).DebugString(), resolved.DebugString());
  const v1::RuleSet defaults = ResolveRules(v1::RuleSet());
  EXPECT_EQ(ResolveRules(defaults).DebugString(), defaults.DebugString());
}

}  // namespace
}  // namespace gradwatch::core
