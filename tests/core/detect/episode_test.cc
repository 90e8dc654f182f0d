// The life of an alert: when it is told, what is its worst value, and how it is said to have ended.
#include "core/detect/episode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

v1::Rule RuleOf(int for_steps, int within_steps, int resolve_after_steps) {
  v1::Rule rule;
  rule.set_name("r");
  rule.set_severity(v1::SEVERITY_WARNING);
  rule.set_for_steps(for_steps);
  if (within_steps > 0) rule.set_within_steps(within_steps);
  rule.set_resolve_after_steps(resolve_after_steps);
  return rule;
}

Verdict Holds(double value, double limit = 1) {
  return {.kind = Verdict::Kind::kHolds, .value = value, .limit = limit};
}

// Steps of an episode one after the other, from step 0.
class EpisodePlayer {
 public:
  explicit EpisodePlayer(const v1::Rule& rule) : episode_(rule, {"job", "uid", 1}) {}

  // One letter a step, in: '1' holds, '0' is quiet, '?' is unknown. Out: '.' for none, else P, F or R.
  std::string Play(const std::string& steps) {
    std::string changes;
    for (const char c : steps) {
      Verdict verdict = c == '1' ? Holds(2) : Verdict();
      if (c == '0') verdict.kind = Verdict::Kind::kQuiet;
      changes += Step(verdict);
    }
    return changes;
  }
  char Step(const Verdict& verdict) {
    const Episode::Change change = episode_.Advance(step_++, verdict);
    if (change == Episode::Change::kPending || change == Episode::Change::kFiring) {
      episode_.alert().set_summary("why it fired");
    }
    return ".PFR"[static_cast<int>(change)];
  }
  std::string Finish() {
    return episode_.Finish(step_ - 1) == Episode::Change::kResolved ? episode_.alert().summary() : "none";
  }
  Episode& episode() { return episode_; }
  const v1::Alert& alert() { return episode_.alert(); }

 private:
  Episode episode_;
  int64_t step_ = 0;
};

struct LifeCase {
  int for_steps, within_steps, resolve_after_steps;
  const char* steps;
  const char* changes;
};

TEST(EpisodeTest, StepsOfAWindowMakeItFire) {
  const LifeCase cases[] = {
      // In a row, said and by default.
      {2, 0, 2, "101011000", "PRPRPF.R."},
      {2, 2, 2, "101011", "PRPRPF"},
      // Two of three: what one quiet step lies between counts; two do not.
      {2, 3, 2, "10100", "P.F.R"},
      {2, 3, 2, "1001", "P.RP"},
      {2, 3, 2, "11", "PF"},
      // What is unknown is as if it had not been, in a window as in a row.
      {2, 3, 2, "1??0?1", "P....F"},
      {3, 0, 2, "1?1?1", "..P.F"},
      // Three of five: told with the second, resolved when no two can be left of them.
      {3, 5, 2, "100100010", "...P..R.."},
      {3, 5, 2, "10101", "..P.F"},
      // The window begins anew when an alert has ended.
      {2, 8, 1, "1101", "PFRP"},
  };
  for (const LifeCase& c : cases) {
    EpisodePlayer player(RuleOf(c.for_steps, c.within_steps, c.resolve_after_steps));
    EXPECT_EQ(player.Play(c.steps), c.changes) << c.for_steps << " of " << c.within_steps << ": " << c.steps;
  }
}

TEST(EpisodeTest, BeginsWithTheFirstStepThatCounts) {
  EpisodePlayer player(RuleOf(5, 8, 2));
  player.Step(Holds(1e6));  // has left the window when half of five are there
  EXPECT_EQ(player.Play("00010001"), "........");
  EXPECT_EQ(player.Play("1"), "P");
  EXPECT_EQ(player.alert().first_step(), 4);
  EXPECT_EQ(player.alert().holding_steps(), 3);
  EXPECT_EQ(player.alert().value(), 2) << "the worst of the steps that count";
}

TEST(EpisodeTest, TheWorstValueIsKept) {
  struct WorstCase {
    std::vector<double> values;
    double limit;
    double worst;
    int step;
  };
  const double inf = HUGE_VAL, nan = std::nan("");
  const WorstCase cases[] = {
      {{2, 5, 3}, 1, 5, 1},     {{2, nan, 5, inf}, 1, nan, 1},  // nothing is worse, whatever comes
      {{2, inf, 5}, 1, inf, 1}, {{2, inf, nan}, 1, nan, 2},
      {{inf, 2}, 1, inf, 0},    {{1e-8, 1e-9, 1e-7}, 1e-6, 1e-9, 1},  // of a rule about what is too small
  };
  for (const WorstCase& c : cases) {
    EpisodePlayer player(RuleOf(1, 0, 2));
    for (const double value : c.values) {
      Verdict verdict = Holds(value, c.limit);
      verdict.low_is_bad = c.limit < 1;
      player.Step(verdict);
    }
    EXPECT_EQ(player.Play("00"), ".R");
    EXPECT_TRUE(std::isnan(c.worst) ? std::isnan(player.alert().value()) : player.alert().value() == c.worst)
        << player.alert().value() << " is not " << c.worst;
    EXPECT_EQ(player.alert().limit(), c.limit);
    EXPECT_THAT(player.alert().summary(), HasSubstr(" at step " + std::to_string(c.step) + ";"));
  }
}

TEST(EpisodeTest, WhatWasPendingCountsForTheWorst) {
  EpisodePlayer player(RuleOf(2, 3, 2));
  player.Step(Holds(300));
  player.Play("0");
  EXPECT_EQ(player.Step(Holds(200)), 'F');
  EXPECT_EQ(player.alert().value(), 300);
}

TEST(EpisodeTest, CountsTheStepsOnWhichItHeld) {
  EpisodePlayer player(RuleOf(2, 3, 3));
  player.Play("0101");
  EXPECT_EQ(player.alert().holding_steps(), 2);
  player.Play("1?0011");
  EXPECT_EQ(player.alert().holding_steps(), 5);
  EXPECT_EQ(player.Play("000"), "..R");
  EXPECT_EQ(player.alert().holding_steps(), 5);
  player.Play("1");
  EXPECT_EQ(player.alert().holding_steps(), 1) << "of the next episode";
}

TEST(EpisodeTest, SaysHowItEndedAndWhyItHadFired) {
  EpisodePlayer player(RuleOf(1, 0, 3));
  player.Play("00011");
  player.Step(Holds(340'000));
  EXPECT_EQ(player.Play("100101000"), "........R");
  EXPECT_EQ(player.alert().summary(),
            "over after 3 quiet steps; held on 6 steps from 3 to 11; worst 3.4e+05 at step 5; it was: why it fired");
  player.Play("1");
  EXPECT_EQ(player.Play("000"), "..R");
  EXPECT_THAT(player.alert().summary(), StartsWith("over after 3 quiet steps; held on step 15; worst 2 at step 15;"));
}

TEST(EpisodeTest, SaysWhetherItStillHeldWhenTheJobEnded) {
  const std::string held = "; held on 2 steps from 0 to 1; worst 2 at step 0; it was: why it fired";
  EpisodePlayer player(RuleOf(1, 0, 20));
  player.Play("11");
  EXPECT_EQ(player.Finish(), "still held when the job ended" + held);
  EXPECT_EQ(player.Finish(), "none");
  EpisodePlayer over(RuleOf(1, 0, 20));
  over.Play("110");
  EXPECT_EQ(over.Finish(), "over because the job has ended" + held);
  EpisodePlayer untold(RuleOf(5, 0, 20));
  untold.Play("11");
  EXPECT_EQ(untold.Finish(), "none");
}

// The level of statistics was lowered, or nothing was finite any more: who knows whether it held.
TEST(EpisodeTest, SaysSinceWhenItCouldNotBeJudgedWhenTheJobEnded) {
  const struct {
    const char* steps;
    const char* end;
  } cases[] = {
      {"11?", "held when it was last judged; could not be judged from step 2 to the end of the job; held on 2 steps "},
      {"1?1???", "held when it was last judged; could not be judged from step 3 to the end of the job; "},
      {"1?1", "still held when the job ended; "},
      {"10???", "over because the job has ended; "},
  };
  for (const auto& c : cases) {
    EpisodePlayer player(RuleOf(1, 0, 20));
    player.Play(c.steps);
    EXPECT_THAT(player.Finish(), StartsWith(c.end)) << c.steps;
  }
}

TEST(EpisodeTest, APendingAlertSaysWhatItLacked) {
  EpisodePlayer row(RuleOf(3, 0, 2)), window(RuleOf(3, 5, 2));
  row.Play("110");
  EXPECT_THAT(row.alert().summary(), StartsWith("did not fire, which needs 3 steps in a row; held on 2 steps from 0"));
  window.Play("11000");
  EXPECT_THAT(window.alert().summary(),
              StartsWith("did not fire, which needs 3 of 5 steps; held on 2 steps from 0 to"));
}

// By these words servers know which alerts went away; of those that still held nobody knows what they would have done.
TEST(EpisodeTest, APendingAlertThatStillHeldAtTheEndDidNotGoAway) {
  EpisodePlayer held(RuleOf(3, 5, 2)), quiet(RuleOf(3, 5, 2)), changed(RuleOf(3, 5, 2));
  EXPECT_EQ(held.Play("11"), ".P");
  EXPECT_THAT(held.Finish(), StartsWith("had not fired yet: still held when the job ended; "))
      << "not as one that fired";
  quiet.Play("110");
  EXPECT_THAT(quiet.Finish(), StartsWith("did not fire: the job has ended; held on 2 steps"));
  changed.Play("11");
  ASSERT_EQ(changed.episode().Withdraw(7, true), Episode::Change::kResolved);
  EXPECT_THAT(changed.alert().summary(), StartsWith("did not fire: its rule was taken out; "));
}

TEST(EpisodeTest, AnEndIsAsShortAsServersTakeItAndStaysUtf8) {
  EpisodePlayer player(RuleOf(1, 0, 1));
  player.Step(Holds(2));
  for (const int extra : {0, 1, 2}) {
    std::string why(static_cast<size_t>(300 + extra), 'x');
    for (int i = 0; i < 200; ++i) why += "\u20ac";  // three bytes each
    player.episode().alert().set_summary(why);
    EXPECT_EQ(player.Play("0"), "R");
    const std::string& summary = player.alert().summary();
    EXPECT_LE(summary.size(), 700u);
    EXPECT_GT(summary.size(), 680u);
    EXPECT_EQ(summary.substr(summary.size() - 6), "\u20ac...");
    player.Step(Holds(2));
  }
}

TEST(EpisodeTest, ARuleThatIsSetAgainGoesOnCounting) {
  EpisodePlayer player(RuleOf(1, 0, 20));
  player.Play("1");
  EXPECT_EQ(player.alert().alert_id(), "uid/1/r/1");
  ASSERT_EQ(player.episode().Withdraw(7, false), Episode::Change::kResolved);
  EXPECT_THAT(player.alert().summary(), StartsWith("over because its rule was changed; held on step 0;"));
  EXPECT_EQ(player.alert().step(), 7);
  Episode next(RuleOf(1, 0, 20), {"job", "uid", 1}, player.episode().episodes());
  EXPECT_EQ(next.Withdraw(7, true), Episode::Change::kNone);
  next.Advance(8, Holds(2));
  EXPECT_EQ(next.alert().alert_id(), "uid/1/r/2");
}

TEST(EpisodeTest, SaysThatItsRuleWasTakenOut) {
  EpisodePlayer player(RuleOf(1, 0, 20));
  player.Play("1");
  ASSERT_EQ(player.episode().Withdraw(7, true), Episode::Change::kResolved);
  EXPECT_THAT(player.alert().summary(), StartsWith("over because its rule was taken out; held on step 0;"));
}

TEST(EpisodeTest, ASteadyStateDoesNotAllocate) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "this build does not count allocations";
  EpisodePlayer player(RuleOf(2, 3, 20));
  player.Play("011");
  const Verdict holds = Holds(2), quiet = {.kind = Verdict::Kind::kQuiet};
  const int64_t before = testing::AllocationCount();
  for (int step = 10; step < 1000; ++step) player.episode().Advance(step, step % 3 == 0 ? holds : quiet);
  EXPECT_EQ(testing::AllocationCount(), before);
}

}  // namespace
}  // namespace gradwatch::core
