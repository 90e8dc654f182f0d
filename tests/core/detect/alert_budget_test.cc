#include "core/detect/alert_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/fake_clock.h"

namespace gradwatch::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr v1::AlertState kPending = v1::ALERT_STATE_PENDING;
constexpr v1::AlertState kFiring = v1::ALERT_STATE_FIRING;
constexpr v1::AlertState kResolved = v1::ALERT_STATE_RESOLVED;

class AlertBudgetTest : public ::testing::Test {
 protected:
  // "flap/3 FIRING" for each alert that is told.
  std::vector<std::string> Take(const std::string& rule, int32_t episode, v1::AlertState state, int64_t step = 0,
                                int64_t waiting = 0) {
    v1::Alert alert;
    alert.set_rule(rule);
    alert.set_episode(episode);
    alert.set_severity(severity_);
    alert.set_state(state);
    alert.set_first_step(step);
    alert.set_step(step);
    return Told(budget_.Take(alert, waiting));
  }
  std::vector<std::string> Told(const std::vector<v1::Alert>& alerts) {
    std::vector<std::string> told;
    for (const v1::Alert& alert : alerts) {
      told.push_back(
          absl::StrCat(alert.rule(), "/", alert.episode(), " ", v1::AlertState_Name(alert.state()).substr(12)));
      if (alert.rule() == kTruncationRule) truncations_.push_back(alert);
    }
    return told;
  }
  // An episode that fires at `step` and is resolved at the next; how much of it was told.
  size_t Flap(const std::string& rule, int32_t episode, int64_t step, int64_t waiting = 0) {
    const size_t told = Take(rule, episode, kFiring, step, waiting).size();
    return told + Take(rule, episode, kResolved, step + 1, waiting).size();
  }

  v1::Severity severity_ = v1::SEVERITY_WARNING;  // of what is taken
  testing::FakeClock clock_;
  AlertBudgetOptions options_;
  AlertBudget budget_{{.job_id = "job", .job_uid = "uid", .attempt = 2}, &clock_};
  std::vector<v1::Alert> truncations_;  // that were told
};

TEST_F(AlertBudgetTest, WhatIsFewIsToldAsItIs) {
  EXPECT_THAT(Take("a", 1, kPending), ElementsAre("a/1 PENDING"));
  EXPECT_THAT(Take("b", 1, kFiring), ElementsAre("b/1 FIRING"));
  EXPECT_THAT(Take("a", 1, kFiring), ElementsAre("a/1 FIRING"));
  EXPECT_THAT(Take("a", 1, kResolved), ElementsAre("a/1 RESOLVED"));
  EXPECT_THAT(Take("b", 1, kResolved), ElementsAre("b/1 RESOLVED"));
  EXPECT_THAT(Told(budget_.Finish(10)), IsEmpty()) << "nothing was counted, so nothing is told of it";
}

TEST_F(AlertBudgetTest, AHundredEpisodesOfARuleAtOnceAndThenTenASecond) {
  const struct {
    absl::Duration pause;
    int told;  // of 300 episodes after it
  } rounds[] = {{absl::ZeroDuration(), 100}, {absl::ZeroDuration(), 0},  {absl::Seconds(1), 10},
                {absl::Seconds(0.25), 2},    {absl::Seconds(0.25), 3},   {absl::Seconds(5), 50},
                {absl::Minutes(10), 100},    {absl::Milliseconds(99), 0}};
  int32_t episode = 0;
  for (const auto& round : rounds) {
    clock_.Advance(round.pause);
    int told = 0;
    for (int i = 0; i < 300; ++i) {
      ++episode;
      const auto firing = Take("flap", episode, kFiring, episode);
      const auto resolved = Take("flap", episode, kResolved, episode);
      const bool was_told = !firing.empty() && absl::StartsWith(firing[0], "flap/");
      EXPECT_EQ(resolved.size(), was_told ? 1u : 0u) << "an episode is told to its end, or not at all";
      told += was_told;
    }
    EXPECT_EQ(told, round.told) << "after " << round.pause;
  }
}

TEST_F(AlertBudgetTest, OneRuleTakesNothingFromAnother) {
  for (int32_t episode = 1; episode <= 1000; ++episode) Flap("flap", episode, episode);
  EXPECT_THAT(Take("non_finite", 1, kFiring), ElementsAre("non_finite/1 FIRING"));
}

TEST_F(AlertBudgetTest, WhatIsCountedIsToldByOneAlert) {
  for (int32_t episode = 1; episode <= 100; ++episode) EXPECT_EQ(Flap("flap", episode, 10 * episode), 2u);
  EXPECT_THAT(Take("flap", 101, kFiring, 5000), ElementsAre("alerts_truncated/1 FIRING"));
  EXPECT_EQ(truncations_.back().alert_id(), "uid/2/alerts_truncated/1");
  EXPECT_EQ(truncations_.back().job_id(), "job");
  EXPECT_EQ(truncations_.back().attempt(), 2);
  EXPECT_EQ(truncations_.back().severity(), v1::SEVERITY_WARNING);
  EXPECT_EQ(truncations_.back().step(), 5000);
  EXPECT_THAT(Take("flap", 101, kResolved, 5001), IsEmpty());
  for (int32_t episode = 102; episode <= 1000; ++episode) EXPECT_EQ(Flap("flap", episode, 10'000 + episode), 0u);
  EXPECT_THAT(Told(budget_.Finish(20'000)), ElementsAre("alerts_truncated/1 RESOLVED"));
  EXPECT_EQ(truncations_.back().first_step(), 5000);
  EXPECT_EQ(truncations_.back().step(), 20'000);
  EXPECT_EQ(truncations_.back().value(), 900);
  EXPECT_EQ(truncations_.back().summary(), "900 alerts were counted, not told: 900 of flap in steps 5000 to 11001");
}

// Who hears of critical alerts alone must hear that some of them are left out.
TEST_F(AlertBudgetTest, AnAlertAsSevereAsWhatIsCountedTellsIt) {
  const auto flood = [this](const std::string& rule, v1::Severity severity, int64_t step) {
    severity_ = severity;
    std::vector<std::string> told;
    for (int32_t episode = 1; episode <= 150; ++episode) {
      for (const v1::AlertState state : {kFiring, kResolved}) {
        for (std::string& text : Take(rule, episode, state, step)) {
          if (absl::StartsWith(text, kTruncationRule)) told.push_back(std::move(text));
        }
      }
    }
    return told;
  };
  EXPECT_THAT(flood("a", v1::SEVERITY_WARNING, 10), ElementsAre("alerts_truncated/1 FIRING"));
  EXPECT_EQ(truncations_.back().severity(), v1::SEVERITY_WARNING);
  EXPECT_THAT(flood("b", v1::SEVERITY_INFO, 20), IsEmpty());
  EXPECT_THAT(flood("c", v1::SEVERITY_CRITICAL, 30),
              ElementsAre("alerts_truncated/1 RESOLVED", "alerts_truncated/2 FIRING"));
  ASSERT_EQ(truncations_.size(), 3u);
  const v1::Alert& over = truncations_[1];  // the episode of the warnings: as it began
  EXPECT_EQ(over.state(), kResolved);
  EXPECT_EQ(over.alert_id(), "uid/2/alerts_truncated/1");
  EXPECT_EQ(over.severity(), v1::SEVERITY_WARNING);
  EXPECT_EQ(over.first_step(), 10);
  EXPECT_EQ(over.step(), 30);
  EXPECT_EQ(over.summary(),
            "from step 30 on alerts of c, which are more severe, are counted too: another alert tells it");
  EXPECT_EQ(truncations_.back().severity(), v1::SEVERITY_CRITICAL);
  EXPECT_EQ(truncations_.back().alert_id(), "uid/2/alerts_truncated/2");
  EXPECT_EQ(truncations_.back().first_step(), 30);
  EXPECT_THAT(flood("d", v1::SEVERITY_CRITICAL, 40), IsEmpty());
  EXPECT_THAT(Told(budget_.Finish(50)), ElementsAre("alerts_truncated/2 RESOLVED"));
  EXPECT_EQ(truncations_.back().value(), 200) << "of all rules";
}

// Its process may be killed: what was said when the counting began is then all that is ever said of it, and is true.
TEST_F(AlertBudgetTest, ARunWithoutAnEndHasToldNothingUntrue) {
  for (int32_t episode = 1; episode <= 1000; ++episode) Flap("flap", episode, 10 * episode);
  EXPECT_EQ(truncations_.back().state(), kFiring);
  EXPECT_EQ(truncations_.back().summary(),
            "from step 1010 on alerts of flap are counted, not told one by one; how many is told at the end of the "
            "run, unless it is killed");
  EXPECT_EQ(truncations_.back().value(), 0) << "how many is not known yet";
}

// A run that ends for want of memory ends within a step, whose alerts were told.
TEST_F(AlertBudgetTest, NothingEndsBeforeItBegan) {
  v1::Alert alert;
  alert.set_rule("a");
  alert.set_episode(1);
  alert.set_first_step(8);
  alert.set_step(8);
  alert.set_state(kFiring);
  budget_.Take(alert, 0);
  alert.set_state(kResolved);
  alert.set_step(7);
  const std::vector<v1::Alert> told = budget_.Take(alert, 0);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].step(), 8);
  for (int32_t episode = 1; episode <= 100; ++episode) Flap("b", episode, 6);
  Take("b", 101, kFiring, 8);
  EXPECT_THAT(Told(budget_.Finish(7)), ElementsAre("alerts_truncated/1 RESOLVED"));
  EXPECT_EQ(truncations_.back().first_step(), 8);
  EXPECT_EQ(truncations_.back().step(), 8);
}

TEST_F(AlertBudgetTest, TheSummaryNamesTheRulesWithMost) {
  for (int rule = 1; rule <= 7; ++rule) {
    const std::string name = absl::StrCat("rule", rule);
    for (int32_t episode = 1; episode <= 100 + rule; ++episode) Flap(name, episode, episode);
  }
  EXPECT_THAT(Told(budget_.Finish(200)), ElementsAre("alerts_truncated/1 RESOLVED"));
  EXPECT_THAT(truncations_.back().summary(),
              StartsWith("28 alerts were counted, not told: 7 of rule7 in steps 101 to 108; "));
  EXPECT_THAT(truncations_.back().summary(), HasSubstr("; 3 of rule3 in steps 101 to 104; the rest of 2 rules"));
}

TEST_F(AlertBudgetTest, AnEpisodeThatWasCountedIsOnlyCountedOnce) {
  for (int32_t episode = 1; episode <= 100; ++episode) Flap("slow", episode, episode);
  Take("slow", 101, kPending, 200);
  clock_.Advance(absl::Minutes(1));  // there is room again, but its beginning was not told
  EXPECT_THAT(Take("slow", 101, kFiring, 201), IsEmpty());
  EXPECT_THAT(Take("slow", 101, kResolved, 300), IsEmpty());
  EXPECT_THAT(Take("slow", 102, kPending, 301), ElementsAre("slow/102 PENDING"));
  EXPECT_THAT(Told(budget_.Finish(400)), ElementsAre("alerts_truncated/1 RESOLVED"));
  EXPECT_EQ(truncations_.back().summary(), "1 alert was counted, not told: 1 of slow in steps 200 to 300");
}

// Whoever is told takes nothing: what waits is bounded, whatever the rules do and for however long.
TEST_F(AlertBudgetTest, WhatWaitsIsBoundedAndEveryRuleIsHeard) {
  constexpr int kRules = 64;
  int64_t waiting = 0;
  std::vector<int> told(kRules);
  for (int32_t episode = 1; episode <= 2000; ++episode) {
    clock_.Advance(absl::Seconds(1));
    for (int rule = 0; rule < kRules; ++rule) {
      if (rule > 0 && episode < 1500) continue;  // the first has the log for itself, and fills it
      const std::string name = absl::StrCat("rule", rule);
      for (const v1::AlertState state : {kPending, kFiring, kResolved}) {
        const auto alerts = Take(name, episode, state, episode, waiting);
        waiting += static_cast<int64_t>(alerts.size());
        told[static_cast<size_t>(rule)] += !alerts.empty() && absl::StartsWith(alerts[0], name + "/");
      }
    }
  }
  waiting += static_cast<int64_t>(budget_.Finish(2000).size());
  EXPECT_LE(waiting, MostWaiting(options_, kRules));
  EXPECT_LE(MostWaiting(options_, kRules), 4096);
  for (const int transitions : told) EXPECT_GE(transitions, 3 * options_.always_told);
}

v1::Alert Explained(const std::string& rule, int32_t episode, v1::AlertState state, int64_t step) {
  v1::Alert alert;
  alert.set_job_id("job");
  alert.set_attempt(2);
  alert.set_rule(rule);
  alert.set_episode(episode);
  alert.set_state(state);
  alert.set_first_step(step);
  alert.set_step(step);
  alert.add_diagnosis("Try this.");
  return alert;
}

// What is to be done is with none that nobody has heard of.
TEST_F(AlertBudgetTest, AlertsPointToThoseOnlyThatWereTold) {
  for (int32_t episode = 1; episode <= 100; ++episode) Flap("flap", episode, episode);
  const std::vector<v1::Alert> counted = budget_.Take(Explained("flap", 101, kFiring, 200), 0);
  EXPECT_THAT(Told(counted), ElementsAre("alerts_truncated/1 FIRING"));
  const std::vector<v1::Alert> told = budget_.Take(Explained("a", 1, kFiring, 200), 0);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0].diagnosis(), ElementsAre("Try this."));
  const std::vector<v1::Alert> pointing = budget_.Take(Explained("b", 1, kFiring, 200), 0);
  ASSERT_EQ(pointing.size(), 1u);
  EXPECT_THAT(pointing[0].diagnosis(), ElementsAre("Cures: see alert job/2/a/1 of this step."));
  // The end says of why what was said before, whatever the detector keeps.
  const std::vector<v1::Alert> end = budget_.Take(Explained("b", 1, kResolved, 900), 0);
  ASSERT_EQ(end.size(), 1u);
  EXPECT_THAT(end[0].diagnosis(), ElementsAre("Cures: see alert job/2/a/1 of this step."));
}

// It may go away, and is in no list then: whoever read of it would find nothing.
TEST_F(AlertBudgetTest, AlertsPointToNoneThatIsPending) {
  const auto take = [this](const std::string& rule, v1::AlertState state, int64_t step) {
    return budget_.Take(Explained(rule, 1, state, step), 0).at(0);
  };
  take("exploding", kPending, 100);
  EXPECT_THAT(take("spike", kFiring, 100).diagnosis(), ElementsAre("Try this."));
  EXPECT_THAT(take("growth", kPending, 100).diagnosis(), ElementsAre("Try this.")) << "nor does one point itself";
  EXPECT_THAT(take("exploding", kResolved, 102).diagnosis(), ElementsAre("Try this."));
  EXPECT_THAT(take("growth", kFiring, 103).diagnosis(), ElementsAre("Cures: see alert job/2/spike/1 of step 100."));
  EXPECT_THAT(take("growth", kResolved, 130).diagnosis(), ElementsAre("Cures: see alert job/2/spike/1 of step 100."));
}

TEST_F(AlertBudgetTest, WhenWhatWaitedIsTakenAlertsAreToldAgain) {
  for (int32_t episode = 1; episode <= 20; ++episode) Flap("flap", episode, episode);
  EXPECT_EQ(Flap("flap", 21, 21, options_.max_waiting), 1u) << "that counting begins";
  EXPECT_EQ(Flap("flap", 22, 22, options_.max_waiting), 0u);
  EXPECT_EQ(Flap("flap", 23, 23, 0), 2u);
}

}  // namespace
}  // namespace gradwatch::core
