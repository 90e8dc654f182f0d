// Rules that change while a run goes on: what stays the same goes on as if nothing had been, what is new knows what the
// run has shown, and what is gone says so.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/core/detect/detector_harness.h"
#include "tests/core/detect/synthetic_run.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::DetectorHarness;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::RuleSet Parse(const std::string& text) {
  v1::RuleSet rules;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rules)) << text;
  return rules;
}

constexpr char kLimit[] = "preset: 'none' rules { name: 'limit' norm_limit { max_norm: 100 } } ";

TEST(SetRulesTest, ARuleThatStaysKeepsItsEpisode) {
  DetectorHarness harness(Parse(kLimit));
  harness.HealthySteps(5);
  harness.SetNorm(200);
  const v1::Alert firing = harness.Step().at(0);
  EXPECT_THAT(harness.SetRules(Parse(std::string(kLimit) + "rules { name: 'b' non_finite {} }")), IsEmpty());
  harness.SetNorm(300);
  EXPECT_THAT(harness.Step(), IsEmpty()) << "it fires already";
  const std::vector<v1::Alert> ends = harness.HealthySteps(20);
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(ends[0].alert_id(), firing.alert_id());
  EXPECT_EQ(ends[0].value(), 300);
  EXPECT_EQ(ends[0].first_step(), firing.first_step());
}

TEST(SetRulesTest, ARuleThatStaysKeepsItsHistory) {
  const v1::RuleSet tensors = Parse("preset: 'none' rules { name: 't' norm_spike { per_tensor: true window: 40 } }");
  DetectorHarness harness(tensors);
  harness.HealthySteps(40);
  v1::RuleSet more = tensors;
  *more.add_rules() = Parse(kLimit).rules(0);
  harness.SetRules(more);
  harness.SetNorm(50);
  EXPECT_EQ(harness.Step().size(), 1u);
}

TEST(SetRulesTest, OrderAndDefaultsThatAreSpelledOutAreNoChange) {
  DetectorHarness harness(Parse(std::string(kLimit) + "rules { name: 'b' non_finite {} }"));
  harness.SetNorm(200);
  EXPECT_EQ(harness.Step().size(), 1u);
  EXPECT_THAT(
      harness.SetRules(Parse("preset: 'none' rules { name: 'b' non_finite {} } rules { name: 'limit' for_steps: 1 "
                             "severity: SEVERITY_WARNING norm_limit { max_norm: 100 per_tensor: false } }")),
      IsEmpty());
  harness.SetNorm(200);
  EXPECT_THAT(harness.Step(), IsEmpty());
}

TEST(SetRulesTest, AFiringRuleThatGoesOrChangesIsResolved) {
  const struct {
    const char* changed;
    const char* how;
  } cases[] = {
      {"preset: 'none'", "its rule was taken out"},
      {"preset: 'none' rules { name: 'limit' norm_limit { max_norm: 1000 } }", "its rule was changed"},
      {"rules { name: 'other' norm_limit { max_norm: 1e9 } }", "its rule was taken out"},
  };
  for (const auto& [changed, how] : cases) {
    SCOPED_TRACE(changed);
    DetectorHarness harness(Parse(kLimit));
    harness.HealthySteps(3);
    harness.SetNorm(200);
    const v1::Alert firing = harness.Step().at(0);
    const std::vector<v1::Alert> ends = harness.SetRules(Parse(changed));
    ASSERT_EQ(ends.size(), 1u);
    EXPECT_EQ(ends[0].alert_id(), firing.alert_id());
    EXPECT_EQ(ends[0].state(), v1::ALERT_STATE_RESOLVED);
    EXPECT_EQ(ends[0].step(), 4);
    EXPECT_THAT(ends[0].summary(), HasSubstr(how));
    EXPECT_THAT(harness.HealthySteps(30), IsEmpty());
    EXPECT_THAT(harness.Finish(), IsEmpty());
  }
}

// What is measured is the same, and so is the alert: it tells its new severity with its next change.
TEST(SetRulesTest, AnAlertGoesOnWhereOnlyWhatBecomesOfItIsChanged) {
  const struct {
    const char* change;
    v1::Severity severity;
    int quiet_steps;  // until it is resolved
  } cases[] = {
      {"severity: SEVERITY_CRITICAL", v1::SEVERITY_CRITICAL, 20},
      {"severity: SEVERITY_INFO", v1::SEVERITY_INFO, 20},
      {"resolve_after_steps: 5", v1::SEVERITY_WARNING, 5},
      {"for_steps: 3", v1::SEVERITY_WARNING, 20},
      {"for_steps: 2 within_steps: 3 severity: SEVERITY_CRITICAL", v1::SEVERITY_CRITICAL, 20},
  };
  for (const auto& [change, severity, quiet_steps] : cases) {
    SCOPED_TRACE(change);
    DetectorHarness harness(Parse(kLimit));
    harness.HealthySteps(3);
    harness.SetNorm(200);
    const v1::Alert firing = harness.Step().at(0);
    EXPECT_EQ(firing.severity(), v1::SEVERITY_WARNING);
    v1::RuleSet changed = Parse(kLimit);
    changed.mutable_rules(0)->MergeFrom(Parse("rules { " + std::string(change) + " }").rules(0));
    EXPECT_THAT(harness.SetRules(changed), IsEmpty());
    EXPECT_THAT(harness.HealthySteps(quiet_steps - 1), IsEmpty());
    const std::vector<v1::Alert> ends = harness.HealthySteps(1);
    ASSERT_EQ(ends.size(), 1u);
    EXPECT_EQ(ends[0].alert_id(), firing.alert_id());
    EXPECT_EQ(ends[0].state(), v1::ALERT_STATE_RESOLVED);
    EXPECT_EQ(ends[0].severity(), severity);
    EXPECT_THAT(ends[0].summary(), HasSubstr("over after"));
  }
}

TEST(SetRulesTest, WhatHasNotFiredYetIsCountedAnewWhereOtherStepsAreAskedFor) {
  const auto limit = [](int for_steps) {
    v1::RuleSet rules = Parse(kLimit);
    rules.mutable_rules(0)->set_for_steps(for_steps);
    return rules;
  };
  DetectorHarness harness(limit(4));
  const auto high_step = [&harness] {
    harness.SetNorm(200);
    return harness.Step();
  };
  high_step();
  const v1::Alert pending = high_step().at(0);
  ASSERT_EQ(pending.state(), v1::ALERT_STATE_PENDING);
  v1::RuleSet louder = limit(4);
  louder.mutable_rules(0)->set_severity(v1::SEVERITY_CRITICAL);
  EXPECT_THAT(harness.SetRules(louder), IsEmpty()) << "it goes on waiting";
  const std::vector<v1::Alert> ends = harness.SetRules(limit(3));
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(ends[0].alert_id(), pending.alert_id());
  EXPECT_THAT(ends[0].summary(), HasSubstr("did not fire: its rule was changed"));
  EXPECT_THAT(high_step(), IsEmpty()) << "the first of three";
  EXPECT_EQ(high_step().at(0).state(), v1::ALERT_STATE_PENDING);
  const v1::Alert firing = high_step().at(0);
  EXPECT_EQ(firing.state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(firing.episode(), pending.episode() + 1);
}

TEST(SetRulesTest, AChangeOfSeverityOrOfStepsKeepsTheHistory) {
  v1::RuleSet rules = Parse("preset: 'none' rules { name: 't' norm_spike { per_tensor: true window: 40 } }");
  DetectorHarness harness(rules);
  harness.HealthySteps(40);
  rules.mutable_rules(0)->set_severity(v1::SEVERITY_CRITICAL);
  harness.SetRules(rules);
  rules.mutable_rules(0)->set_for_steps(2);
  harness.SetRules(rules);
  std::vector<v1::Alert> told;
  for (int step = 0; step < 2; ++step) {
    harness.SetNorm(50);
    for (const v1::Alert& alert : harness.Step()) told.push_back(alert);
  }
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back().state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(told.back().severity(), v1::SEVERITY_CRITICAL);
}

TEST(SetRulesTest, EpisodesOfAChangedRuleAreCountedOn) {
  DetectorHarness harness(Parse(kLimit));
  harness.SetNorm(200);
  EXPECT_EQ(harness.Step().at(0).alert_id(), "uid/2/limit/1");
  harness.SetRules(Parse("preset: 'none' rules { name: 'limit' norm_limit { max_norm: 150 } }"));
  harness.SetNorm(200);
  const v1::Alert firing = harness.Step().at(0);
  EXPECT_EQ(firing.alert_id(), "uid/2/limit/2") << "alert ids are unique in an attempt";
  EXPECT_EQ(firing.limit(), 150);
}

TEST(SetRulesTest, ANewRuleKnowsWhatTheRunHasShown) {
  // The run's own window of 30 norms and losses is there whatever the rules were.
  DetectorHarness harness(Parse("preset: 'none'"));
  harness.HealthySteps(100);
  EXPECT_THAT(harness.SetRules(Parse(
                  "preset: 'none' rules { name: 'n' norm_spike { window: 30 max_deviations: 8 min_deviation: 0.4 } } "
                  "rules { name: 'l' loss_jump { window: 30 max_deviations: 4 } }")),
              IsEmpty());
  harness.SetNorm(50);
  harness.record().loss = 50;
  EXPECT_EQ(harness.Step().size(), 2u);
}

TEST(SetRulesTest, TheDefaultRulesMayComeLaterAndKnowTheBestLoss) {
  DetectorHarness harness(Parse("preset: 'none'"));
  harness.HealthySteps(100);
  harness.SetRules(v1::RuleSet());
  gradwatch::testing::Told told;
  for (int step = 0; step < 10; ++step) {
    harness.record().loss = 100;
    told.Add(harness.Step());
  }
  EXPECT_TRUE(told.IsCriticalNow()) << told.Words();
}

TEST(SetRulesTest, OfTheDefaultRulesOneMayBeOthersOrNone) {
  DetectorHarness harness(v1::RuleSet{});
  harness.HealthySteps(50);
  harness.SetRules(Parse("rules { name: 'loss_jump' off: true } rules { name: 'loss_spike' off: true }"));
  harness.record().loss = 50;
  gradwatch::testing::Told told;
  told.Add(harness.Step());
  EXPECT_EQ(told.Count("loss_jump"), 0);
  harness.HealthySteps(30);
  harness.SetRules(v1::RuleSet());
  harness.record().loss = 50;
  told.Add(harness.Step());
  EXPECT_EQ(told.Count("loss_jump"), 1) << told.Words();
}

}  // namespace
}  // namespace gradwatch::core
