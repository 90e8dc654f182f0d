// Whole jobs under the default rules, in short: healthy ones raise no critical alert, and broken ones have raised one
// when their loss passes three times its best. tests/bench/healthy_jobs is the long form. Jobs whose data are absent
// are skipped.
#include "tests/support/hosted_jobs.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace gradwatch::testing {
namespace {

constexpr int64_t kSteps = 300;

std::string Describe(const std::vector<v1::Alert>& transitions) {
  std::string text;
  for (const v1::Alert& alert : transitions) {
    if (alert.state() == v1::ALERT_STATE_FIRING) absl::StrAppend(&text, "\n", alert.step(), " ", alert.summary());
  }
  return text;
}

class SlowHealthyJobsTest : public ::testing::TestWithParam<HostedJob> {};

TEST_P(SlowHealthyJobsTest, RaiseNoCriticalAlert) {
  const auto run = RunHosted(GetParam(), kSteps);
  if (absl::IsNotFound(run.status())) GTEST_SKIP() << run.status().message();
  ASSERT_THAT(run, IsOk());
  EXPECT_EQ(run->result.steps_done, kSteps);
  EXPECT_EQ(FirstTold(run->alerts, v1::SEVERITY_CRITICAL), std::nullopt) << Describe(run->alerts);
}

INSTANTIATE_TEST_SUITE_P(Jobs, SlowHealthyJobsTest, ::testing::ValuesIn(HealthyJobs()),
                         [](const auto& info) { return info.param.name; });

// Those of the broken jobs that are lost within their own steps; the three that take thousands have no short form here.
std::vector<HostedJob> JobsThatBreakSoon() {
  std::vector<HostedJob> jobs = BrokenJobs();
  std::erase_if(jobs, [](const HostedJob& job) {
    return job.name == "char_rnn" || job.name == "explode_recurrent_radius" || job.name == "res";
  });
  return jobs;
}

class SlowBrokenJobsTest : public ::testing::TestWithParam<HostedJob> {};

TEST_P(SlowBrokenJobsTest, AreToldWhenTheLossPassesThreeTimesItsBest) {
  const auto run = RunHosted(GetParam(), 0);
  if (absl::IsNotFound(run.status())) GTEST_SKIP() << run.status().message();
  ASSERT_THAT(run, IsOk());
  const std::optional<Told> first = FirstTold(run->alerts, v1::SEVERITY_CRITICAL);
  const std::optional<int64_t> passed = run->marks.passed(), broken = run->marks.non_finite();
  if (!passed.has_value() && !broken.has_value()) return;  // it limps, but is not lost
  ASSERT_TRUE(first.has_value()) << "its record says nothing of its loss" << Describe(run->alerts);
  EXPECT_LE(first->step, passed.value_or(first->step)) << Describe(run->alerts);
  EXPECT_LE(first->step, broken.value_or(first->step)) << Describe(run->alerts);
}

INSTANTIATE_TEST_SUITE_P(Jobs, SlowBrokenJobsTest, ::testing::ValuesIn(JobsThatBreakSoon()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gradwatch::testing
