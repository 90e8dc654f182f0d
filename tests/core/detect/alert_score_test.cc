// The measures of alerts that bench/detection prints, on runs whose measures are known.
#include "tests/support/alert_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace gradwatch::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

RunLabel Label(const std::string& label, std::optional<int64_t> onset = {}, std::optional<int64_t> fault_step = {}) {
  RunLabel run;
  run.label = label;
  run.by_value = true;
  run.onset = onset;
  run.fault_step = fault_step;
  run.has_fault = fault_step.has_value();
  return run;
}

RunLabel ByLoss(RunLabel label) {
  label.by_value = false;
  return label;
}

RunVerdict Judge(const RunLabel& label, const std::vector<int64_t>& critical, std::vector<int64_t> warnings = {}) {
  warnings.insert(warnings.end(), critical.begin(), critical.end());
  std::sort(warnings.begin(), warnings.end());
  return JudgeAlerts(label, {critical, warnings});
}

TEST(AlertScoreTest, OnlyEpisodesThatBeginToFireAreAlerts) {
  std::vector<v1::Alert> transitions;
  const auto add = [&](v1::AlertState state, v1::Severity severity, int64_t step) {
    v1::Alert& alert = transitions.emplace_back();
    alert.set_state(state);
    alert.set_severity(severity);
    alert.set_step(step);
  };
  add(v1::ALERT_STATE_PENDING, v1::SEVERITY_CRITICAL, 1);
  add(v1::ALERT_STATE_FIRING, v1::SEVERITY_CRITICAL, 2);
  add(v1::ALERT_STATE_FIRING, v1::SEVERITY_INFO, 3);
  add(v1::ALERT_STATE_FIRING, v1::SEVERITY_WARNING, 4);
  add(v1::ALERT_STATE_RESOLVED, v1::SEVERITY_CRITICAL, 5);
  const RunAlerts alerts = AlertsOf(transitions);
  EXPECT_THAT(alerts.critical, ElementsAre(2));
  EXPECT_THAT(alerts.told, ElementsAre(2, 4));
}

TEST(AlertScoreTest, TheFirstRuleIsThatOfTheFirstCriticalAlertAboutTheFault) {
  std::vector<v1::Alert> transitions;
  const auto add = [&](const char* rule, v1::Severity severity, int64_t step) {
    v1::Alert& alert = transitions.emplace_back();
    alert.set_rule(rule);
    alert.set_state(v1::ALERT_STATE_FIRING);
    alert.set_severity(severity);
    alert.set_step(step);
  };
  add("early", v1::SEVERITY_CRITICAL, 10);
  add("warning", v1::SEVERITY_WARNING, 40);
  add("first", v1::SEVERITY_CRITICAL, 41);
  add("second", v1::SEVERITY_CRITICAL, 42);
  EXPECT_THAT(FirstInTime(Label("diverged", 50, 40), transitions), Optional(std::string("first")));
  EXPECT_THAT(FirstInTime(Label("diverged", 50), transitions), Optional(std::string("early")));
  EXPECT_EQ(FirstInTime(Label("diverged", 90, 80), transitions), std::nullopt);
}

TEST(AlertScoreTest, ADivergenceIsCaughtAtItsOnsetAtTheLatest) {
  const RunLabel run = Label("diverged", 50);
  const RunVerdict before = Judge(run, {40, 45});
  EXPECT_THAT(before.caught, Optional(true));
  EXPECT_THAT(before.late, Optional(false));
  EXPECT_THAT(before.lead, Optional(10.0));
  EXPECT_THAT(before.share, Optional(0.2));
  EXPECT_THAT(Judge(run, {50}).lead, Optional(0.0));
  const RunVerdict after = Judge(run, {51});
  EXPECT_THAT(after.caught, Optional(false));
  EXPECT_THAT(after.late, Optional(true));
  EXPECT_FALSE(after.lead.has_value());
  const RunVerdict none = Judge(run, {}, {40});
  EXPECT_THAT(none.caught, Optional(false)) << "a warning does not count";
  EXPECT_THAT(none.late, Optional(false));
}

TEST(AlertScoreTest, ADivergenceThatOnlyTheLossTellsMayBeCaughtFiveStepsLater) {
  const RunLabel run = ByLoss(Label("diverged", 50));
  EXPECT_THAT(Judge(run, {55}).caught, Optional(true));
  EXPECT_THAT(Judge(run, {55}).lead, Optional(-5.0));
  EXPECT_THAT(Judge(run, {56}).caught, Optional(false));
  EXPECT_THAT(Judge(run, {56}).late, Optional(true));
}

TEST(AlertScoreTest, AlertsCountFromThreeStepsBeforeTheFault) {
  const RunLabel run = Label("diverged", 60, 40);
  const RunVerdict early = Judge(run, {36, 50});
  EXPECT_THAT(early.early, Optional(true));
  EXPECT_THAT(early.caught, Optional(true));
  EXPECT_THAT(early.lead, Optional(10.0)) << "of the second";
  EXPECT_THAT(early.share, Optional(0.5));
  EXPECT_THAT(Judge(run, {36}).caught, Optional(false));
  EXPECT_THAT(Judge(run, {36}).late, Optional(false));
  const RunVerdict just_before = Judge(run, {37});
  EXPECT_THAT(just_before.early, Optional(false));
  EXPECT_THAT(just_before.lead, Optional(20.0)) << "from the fault at the most";
  EXPECT_THAT(just_before.share, Optional(1.0));
  EXPECT_FALSE(Judge(Label("diverged", 49, 40), {45}).share.has_value()) << "there were but 9 steps";
  EXPECT_THAT(Judge(run, {}, {10}).early, Optional(false)) << "a warning does not count";
}

TEST(AlertScoreTest, AFaultAfterTheOnsetHadNoPartInIt) {
  const RunVerdict verdict = Judge(Label("diverged", 30, 40), {20});
  EXPECT_FALSE(verdict.early.has_value());
  EXPECT_THAT(verdict.lead, Optional(10.0));
  EXPECT_THAT(verdict.share, Optional(1.0 / 3));
}

TEST(AlertScoreTest, AlertsOfHealthyRunsWithoutAFaultAreFalse) {
  EXPECT_THAT(Judge(Label("healthy"), {}).falsely, Optional(false));
  EXPECT_THAT(Judge(Label("healthy"), {}).warned, Optional(false));
  EXPECT_THAT(Judge(Label("healthy"), {}, {7}).falsely, Optional(false));
  EXPECT_THAT(Judge(Label("healthy"), {}, {7}).warned, Optional(true));
  EXPECT_THAT(Judge(Label("healthy"), {7}).falsely, Optional(true));
  EXPECT_THAT(Judge(Label("healthy"), {7}).warned, Optional(true));
  const RunVerdict recovered = Judge(Label("healthy", {}, 100), {102});
  EXPECT_FALSE(recovered.falsely.has_value());
  EXPECT_FALSE(recovered.warned.has_value());
  EXPECT_THAT(recovered.early, Optional(false));
  EXPECT_FALSE(Judge(Label("stalled"), {7}).falsely.has_value());
}

TEST(AlertScoreTest, ASpikeIsSeenFromOneStepBeforeItToTwoBehind) {
  const RunLabel run = Label("spike", 50);
  EXPECT_THAT(Judge(run, {48, 53}).spike, Optional(false));
  EXPECT_THAT(Judge(run, {}, {49}).spike, Optional(true)) << "a warning counts";
  EXPECT_THAT(Judge(run, {52}).spike, Optional(true));
  EXPECT_FALSE(Judge(run, {52}).caught.has_value());
}

TEST(AlertScoreTest, SumsUpWhatTheRunsSay) {
  const std::vector<RunVerdict> verdicts = {
      Judge(Label("diverged", 50), {40}),          // lead 10, share 0.2
      Judge(Label("diverged", 100), {20}),         // lead 80, share 0.8
      Judge(Label("diverged", 5), {2}),            // lead 3
      Judge(ByLoss(Label("diverged", 50)), {54}),  // lead -4, share -0.08
      Judge(Label("diverged", 50), {51}),          // late
      Judge(Label("healthy"), {}, {3}),
      Judge(Label("healthy"), {}),
      Judge(Label("healthy", {}, 90), {4}),  // early
      Judge(Label("spike", 20), {21}),
  };
  const AlertScore score = SumUp(verdicts);
  EXPECT_EQ(score.runs, 9);
  EXPECT_THAT(score.caught.value(), Optional(0.8));
  EXPECT_THAT(score.late.value(), Optional(0.2));
  EXPECT_THAT(score.lead, Optional(6.5)) << "half way from 3 to 10";
  EXPECT_THAT(score.share, Optional(0.2));
  EXPECT_THAT(score.falsely.value(), Optional(0.0));
  EXPECT_THAT(score.warned.value(), Optional(0.5));
  EXPECT_THAT(score.early.value(), Optional(1.0));
  EXPECT_THAT(score.spikes.value(), Optional(1.0));
  EXPECT_FALSE(SumUp({}).caught.value().has_value());
  EXPECT_FALSE(SumUp({}).lead.has_value());
}

}  // namespace
}  // namespace gradwatch::testing
