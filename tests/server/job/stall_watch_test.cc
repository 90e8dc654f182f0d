#include "server/job/stall_watch.h"

#include <gmock/gmock.h>

namespace gradwatch::server {
namespace {

using ::testing::HasSubstr;

// Looks once a second, as the server does.
class StallWatchTest : public ::testing::Test {
 protected:
  void Run(int seconds, double steps_a_second) {
    for (int i = 0; i < seconds; ++i) {
      now_ += absl::Seconds(1);
      steps_ += steps_a_second;
      watch_.Look(now_, static_cast<int64_t>(steps_));
    }
  }
  bool Stalls() const { return watch_.waited() >= watch_.Limit(rule_); }

  v1::Rule rule_ = StallRuleOf(v1::RuleSet());
  StallWatch watch_;
  absl::Duration now_;
  double steps_ = 0;
};

TEST_F(StallWatchTest, ThirtySecondsAreALotForQuickSteps) {
  Run(100, 50);
  EXPECT_EQ(watch_.MedianStep(), absl::Milliseconds(20));
  Run(29, 0);
  EXPECT_FALSE(Stalls());
  Run(1, 0);
  EXPECT_TRUE(Stalls());
  Run(1, 50);
  EXPECT_FALSE(Stalls());
}

TEST_F(StallWatchTest, SlowStepsHaveTenTimesWhatTheyTake) {
  Run(400, 0.1);
  EXPECT_EQ(watch_.MedianStep(), absl::Seconds(10));
  EXPECT_EQ(watch_.Limit(rule_), absl::Seconds(100));
}

TEST_F(StallWatchTest, TheFirstStepHasFiveMinutes) {
  Run(300, 0);
  EXPECT_FALSE(Stalls());
  Run(1, 0);
  EXPECT_TRUE(Stalls()) << "from the first look on";
}

TEST_F(StallWatchTest, AfterARestartWhatIsKnownOfTheRunCounts) {
  watch_.Expect(absl::Minutes(10));
  EXPECT_EQ(watch_.Limit(rule_), absl::Minutes(100));
  watch_.Expect(absl::Milliseconds(1));
  EXPECT_EQ(watch_.Limit(rule_), absl::Minutes(5));
}

TEST_F(StallWatchTest, ARestIsNoTimeOfAStep) {
  Run(100, 1);
  watch_.Rest();
  EXPECT_EQ(watch_.waited(), absl::ZeroDuration());
  now_ += absl::Hours(1);
  Run(3, 1);
  EXPECT_EQ(watch_.MedianStep(), absl::Seconds(1));
  EXPECT_FALSE(Stalls());
}

TEST_F(StallWatchTest, OnlyTheLastStepsCount) {
  Run(1000, 10);
  Run(200, 0.5);
  EXPECT_EQ(watch_.MedianStep(), absl::Seconds(2));
}

TEST_F(StallWatchTest, ARuleOfTheSpecSaysTimeNameAndSeverity) {
  v1::RuleSet rules;
  rules.add_rules()->mutable_non_finite();
  v1::Rule* const own = rules.add_rules();
  own->set_name("hangs");
  own->set_severity(v1::SEVERITY_CRITICAL);
  own->mutable_stall()->set_seconds(2);
  rule_ = StallRuleOf(rules);
  EXPECT_EQ(rule_.name(), "hangs");
  EXPECT_GE(watch_.Limit(rule_), absl::Minutes(5)) << "before the first step";
  Run(100, 1);
  EXPECT_EQ(watch_.Limit(rule_), absl::Seconds(2));
  EXPECT_EQ(StallRuleOf(v1::RuleSet()).name(), "stall");
  EXPECT_EQ(StallRuleOf(v1::RuleSet()).severity(), v1::SEVERITY_WARNING);
}

TEST_F(StallWatchTest, TheAlertSaysWhatIsWaitedForAndForHowLong) {
  v1::Job job;
  job.set_job_id("job");
  job.set_attempt(2);
  job.set_state(v1::JOB_STATE_RUNNING);
  Run(100, 50);
  Run(40, 0);
  job.set_steps_done(5000);
  const v1::Alert alert = MakeStallAlert(job, rule_, watch_, absl::UnixEpoch());
  EXPECT_EQ(alert.state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(alert.first_step(), 5000);
  EXPECT_EQ(alert.value(), 40);
  EXPECT_EQ(alert.limit(), 30);
  EXPECT_THAT(alert.summary(), HasSubstr("no step for 40s"));
  EXPECT_THAT(alert.summary(), HasSubstr("a step took 20ms"));

  job.set_steps_done(5003);
  v1::Alert end = EndStallAlert(alert, job, absl::UnixEpoch());
  EXPECT_EQ(end.state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_EQ(end.step(), 5003);
  EXPECT_THAT(end.summary(), HasSubstr("steps come again"));
  EXPECT_THAT(end.summary(), HasSubstr("; it was: " + alert.summary()));
  job.set_steps_done(5000);
  job.set_state(v1::JOB_STATE_PAUSED);
  EXPECT_THAT(EndStallAlert(alert, job, absl::UnixEpoch()).summary(), HasSubstr("PAUSED"));
}

}  // namespace
}  // namespace gradwatch::server
