#include "core/detect/detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/core/detect/detector_harness.h"
#include "tests/core/detect/synthetic_run.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::AllocationCount;
using ::gradwatch::testing::CountsAllocations;
using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::OneRule;
using ::gradwatch::testing::Told;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::RuleSet LimitOf100(int for_steps, int resolve_after_steps) {
  v1::RuleSet rules = OneRule(for_steps, resolve_after_steps);
  rules.mutable_rules(0)->set_severity(v1::SEVERITY_CRITICAL);
  rules.mutable_rules(0)->mutable_norm_limit()->set_max_norm(100);
  return rules;
}

// Plays global norms and notes the states that come out, as one letter a step: '.' none, P, F, R.
std::string Play(const std::vector<double>& norms, DetectorHarness* harness) {
  std::string states;
  for (const double norm : norms) {
    harness->SetNorm(norm);
    const auto alerts = harness->Step();
    EXPECT_LE(alerts.size(), 1u);
    states += alerts.empty() ? '.' : " PFR"[alerts[0].state()];
  }
  return states;
}

TEST(DetectorTest, OneAlertPerEpisodeWithHysteresis) {
  DetectorHarness harness(LimitOf100(1, 3));
  EXPECT_EQ(Play({1, 200, 300, 1, 1, 200, 1, 1, 1, 1, 200, 1, 1, 1}, &harness), ".F......R.F..R");
}

TEST(DetectorTest, PendingComesFirstWithForSteps) {
  DetectorHarness harness(LimitOf100(3, 2));
  EXPECT_EQ(Play({1, 200, 200, 200, 200, 1, 1, 1}, &harness), "..PF..R.");
  DetectorHarness two(LimitOf100(2, 2)), five(LimitOf100(5, 2));
  EXPECT_EQ(Play({200, 200, 1}, &two), "PF.");
  EXPECT_EQ(Play({200, 200, 200, 200, 200, 1}, &five), "..P.F.");
}

TEST(DetectorTest, PendingThatDoesNotLastIsResolvedAtOnceIfItWasTold) {
  DetectorHarness harness(LimitOf100(3, 2));
  EXPECT_EQ(Play({200, 200, 1, 200, 1, 200, 200, 1}, &harness), ".PR...PR");
  harness.SetNorm(200);
  harness.Step();
  harness.SetNorm(200);
  const v1::Alert alert = harness.Step().at(0);
  EXPECT_EQ(alert.episode(), 3) << "what was not told is not counted";
  EXPECT_EQ(alert.first_step(), 8);
  EXPECT_EQ(alert.step(), 9);
}

TEST(DetectorTest, KnowsTheLastStepOnWhichAConditionHeldWhateverBecameOfIt) {
  DetectorHarness harness(LimitOf100(3, 2));
  EXPECT_EQ(Play({1, 1}, &harness), "..");
  EXPECT_EQ(harness.last_holding(), -1);
  EXPECT_EQ(Play({200, 1}, &harness), "..") << "nothing is told";
  EXPECT_EQ(harness.last_holding(), 2);
  EXPECT_EQ(Play({200, 200, 200, 1}, &harness), ".PF.") << "it fires still";
  EXPECT_EQ(harness.last_holding(), 6);
}

TEST(DetectorTest, AStepThatCannotBeJudgedChangesNothing) {
  DetectorHarness harness(LimitOf100(3, 2));
  // A NaN norm neither breaks a row of steps nor counts as quiet.
  EXPECT_EQ(Play({200, NAN, 200, 200, NAN, 1, NAN, NAN, 1}, &harness), "..PF....R");
}

TEST(DetectorTest, StepsMayHoldAmongOthers) {
  v1::RuleSet rules = LimitOf100(3, 2);
  rules.mutable_rules(0)->set_within_steps(5);
  DetectorHarness spread(rules), too_far(rules);
  EXPECT_THAT(Play({200, 1, 200, 1, 200, 1, 1}, &spread), ::testing::EndsWith("F.R"));
  EXPECT_THAT(Play({200, 1, 1, 200, 1, 200, 1, 1, 1}, &too_far), ::testing::Not(HasSubstr("F")));
}

TEST(DetectorTest, FillsEveryFieldOfTheLife) {
  DetectorHarness harness(LimitOf100(2, 2));
  Play({1, 1, 1}, &harness);
  harness.SetNorm(200);
  const v1::Alert pending = harness.Step().at(0);
  EXPECT_EQ(pending.alert_id(), "uid/2/r/1");
  EXPECT_EQ(pending.job_id(), "job");
  EXPECT_EQ(pending.attempt(), 2);
  EXPECT_EQ(pending.rule(), "r");
  EXPECT_EQ(pending.severity(), v1::SEVERITY_CRITICAL);
  EXPECT_EQ(pending.state(), v1::ALERT_STATE_PENDING);
  EXPECT_EQ(pending.episode(), 1);
  EXPECT_EQ(pending.first_step(), 3);
  EXPECT_EQ(pending.step(), 3);
  EXPECT_EQ(pending.value(), 200);
  EXPECT_EQ(pending.limit(), 100);
  EXPECT_EQ(pending.time().seconds(), 1'700'000'000);
  EXPECT_EQ(pending.time().nanos(), 3'000'000);

  harness.SetTensorNorm(1, 300);
  const double firing_norm = harness.record().grad_norm;
  const v1::Alert firing = harness.Step().at(0);
  EXPECT_EQ(firing.alert_id(), pending.alert_id());
  EXPECT_EQ(firing.state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(firing.first_step(), 3);
  EXPECT_EQ(firing.step(), 4);
  EXPECT_EQ(firing.value(), firing_norm);
  EXPECT_EQ(firing.tensor(), "rnn0.weight_hh");

  Play({500, 200, 1}, &harness);
  const v1::Alert resolved = harness.Step().at(0);
  EXPECT_EQ(resolved.alert_id(), pending.alert_id());
  EXPECT_EQ(resolved.state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_EQ(resolved.first_step(), 3);
  EXPECT_EQ(resolved.step(), 8);
  EXPECT_EQ(resolved.value(), 500) << "the worst of the episode";
  EXPECT_EQ(resolved.tensor(), "rnn0.weight_hh");
  EXPECT_EQ(resolved.holding_steps(), 4);
  EXPECT_EQ(resolved.summary(),
            "over after 2 quiet steps; held on 4 steps from 3 to 6; worst 500 at step 5; it was: " + firing.summary());

  Play({200}, &harness);
  EXPECT_EQ(harness.Finish().at(0).alert_id(), "uid/2/r/2");
}

TEST(DetectorTest, FinishResolvesWhatIsPendingOrFiring) {
  DetectorHarness untold(LimitOf100(3, 5));
  Play({200}, &untold);
  EXPECT_THAT(untold.Finish(), IsEmpty());
  for (const int for_steps : {1, 2}) {
    DetectorHarness harness(LimitOf100(for_steps, 5));
    EXPECT_THAT(harness.Finish(), IsEmpty());
    Play({200}, &harness);
    const auto alerts = harness.Finish();
    ASSERT_EQ(alerts.size(), 1u);
    EXPECT_EQ(alerts[0].state(), v1::ALERT_STATE_RESOLVED);
    EXPECT_EQ(alerts[0].step(), 1);
    EXPECT_THAT(alerts[0].summary(), HasSubstr("still held when the job ended"));
    EXPECT_THAT(harness.Finish(), IsEmpty());
  }
}

TEST(DetectorTest, RulesOfOnesOwnAreAddedToThoseOfThePreset) {
  v1::RuleSet rules = LimitOf100(1, 2);
  rules.clear_preset();
  DetectorHarness added(rules), alone(LimitOf100(1, 2));
  for (DetectorHarness* harness : {&added, &alone}) {
    harness->HealthySteps(5);
    harness->SetNorm(200);
    harness->record().loss = NAN;
    for (int i = 0; i < 5; ++i) harness->BreakTensor(i);
  }
  Told told;
  told.Add(added.Step());
  EXPECT_EQ(told.Count("non_finite"), 1);
  told = Told();
  told.Add(alone.Step());
  EXPECT_EQ(told.Count("non_finite"), 0);
}

TEST(DetectorTest, RulesHaveEpisodesOfTheirOwn) {
  v1::RuleSet rules = LimitOf100(1, 2);
  *rules.add_rules() = rules.rules(0);
  rules.mutable_rules(1)->set_name("s");
  rules.mutable_rules(1)->mutable_norm_limit()->set_max_norm(1000);
  DetectorHarness harness(rules);
  harness.SetNorm(500);
  EXPECT_EQ(harness.Step().size(), 1u);
  harness.SetNorm(5000);
  const auto alerts = harness.Step();
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0].alert_id(), "uid/2/s/1");
}

TEST(DetectorTest, RecordsWithoutTensorsAreJudgedByTheirSums) {
  DetectorHarness harness(v1::RuleSet{});
  harness.HealthySteps(50);
  harness.record().tensors.clear();
  Told told;
  for (int step = 0; step < 2; ++step) {
    harness.record().grad_norm = 1e4;
    told.Add(harness.Step());
    EXPECT_EQ(told.Count("grad_norm_spike"), 1);
    EXPECT_EQ(told.Count("grad_norm_exploding"), step) << "two of three steps";
  }
  for (const v1::Alert& alert : told.firings()) EXPECT_EQ(alert.tensor(), "") << alert.rule();
}

TEST(DetectorTest, AQuietStepDoesNotAllocate) {
  if (!CountsAllocations()) GTEST_SKIP() << "this build does not count allocations";
  v1::RuleSet rules;  // beside the default ones
  v1::Rule* rule = rules.add_rules();
  rule->set_name("per_tensor");
  rule->mutable_norm_spike()->set_per_tensor(true);
  DetectorHarness harness(rules);
  EXPECT_THAT(harness.HealthySteps(3), IsEmpty());
  const int64_t before = AllocationCount();
  const auto alerts = harness.HealthySteps(1000);
  EXPECT_EQ(AllocationCount(), before);
  EXPECT_THAT(alerts, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::core
