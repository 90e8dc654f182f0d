// The jobs that the repository ships do what their first lines say. Those that need data are skipped where it is
// absent.
#include "tests/support/shipped_jobs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/lib/spec_reader.h"
#include "client/worker/local_run.h"
#include "core/base/engine_variant.h"
#include "core/spec/job_spec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

class ShippedJobsTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ShippedJobsTest, IsValid) {
  const absl::StatusOr<v1::JobSpec> spec = client::ReadJobSpec(GetParam());
  ASSERT_THAT(spec, gradwatch::testing::IsOk());
  const auto roots = core::DataRoots::Create(testing::JobDataFolders());
  const auto job = core::ValidateJob(*spec, *roots, core::SpecLimits());
  if (absl::IsNotFound(job.status())) GTEST_SKIP() << job.status().message();
  EXPECT_THAT(job, gradwatch::testing::IsOk());
}

INSTANTIATE_TEST_SUITE_P(Files, ShippedJobsTest, ::testing::ValuesIn(testing::ShippedJobs()),
                         [](const auto& info) { return testing::ShippedJobName(info.param); });

std::string PathOf(const std::string& name) {
  return absl::StrCat(GRADWATCH_SOURCE_DIR, "/deploy/jobs/", name, ".yaml");
}

// Trains the beginning of a job. NOT_FOUND: its data are not here.
absl::StatusOr<RunSummary> TrainFile(const std::string& path, int64_t steps) {
  LocalRunOptions options;
  options.spec_path = path;
  options.steps = steps;
  options.data_roots = testing::JobDataFolders();
  auto run = LocalRun::Prepare(options);
  if (!run.ok()) return run.status();
  return run->Run();
}

absl::StatusOr<RunSummary> Train(const std::string& name, int64_t steps) { return TrainFile(PathOf(name), steps); }

struct Explosion {
  const char* job;
  int64_t steps;     // until it shows
  const char* rule;  // that tells of it
  size_t cures;      // that its first lines name
};

class ExplosionTest : public ::testing::TestWithParam<Explosion> {};

TEST_P(ExplosionTest, IsTold) {
  const absl::StatusOr<RunSummary> summary = Train(GetParam().job, GetParam().steps);
  ASSERT_THAT(summary, gradwatch::testing::IsOk()) << "it needs no data";
  EXPECT_EQ(summary->alerts.count(GetParam().rule), 1u) << ToJson(*summary);
}

// The cures that the first lines of a job name: `new text` instead of `old text`, or `a line` to add. Each gives the
// whole job with this one change.
std::vector<std::string> CuredJobs(const std::string& text) {
  std::string comment, spec;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (spec.empty() && absl::StartsWith(line, "# ")) {
      absl::StrAppend(&comment, line.substr(2), " ");
    } else {
      absl::StrAppend(&spec, line, "\n");
    }
  }
  static const std::regex kCure("`([^`]+)`(?: instead of `([^`]+)`)?");
  std::vector<std::string> jobs;
  for (std::sregex_iterator cure(comment.begin(), comment.end(), kCure); cure != std::sregex_iterator(); ++cure) {
    const std::string after = (*cure)[1], before = (*cure)[2];
    EXPECT_TRUE(before.empty() || absl::StrContains(spec, before)) << before;
    jobs.push_back(before.empty() ? absl::StrCat(spec, after, "\n") : absl::StrReplaceAll(spec, {{before, after}}));
  }
  return jobs;
}

TEST_P(ExplosionTest, TheCuresThatItNamesCureIt) {
  std::ifstream file(PathOf(GetParam().job));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const testing::TempDir folder;
  const std::vector<std::string> cured = CuredJobs(text);
  EXPECT_EQ(cured.size(), GetParam().cures);
  for (const std::string& job : cured) {
    const absl::StatusOr<RunSummary> summary = TrainFile(folder.Write("cured.yaml", job), GetParam().steps);
    ASSERT_THAT(summary, gradwatch::testing::IsOk()) << job;
    EXPECT_EQ(summary->result.state, v1::JOB_STATE_SUCCEEDED) << job << ToJson(*summary);
    EXPECT_EQ(summary->alerts.count(GetParam().rule), 0u) << job << ToJson(*summary);
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, ExplosionTest,
                         ::testing::Values(Explosion{"explode_bad_batch", 300, "grad_norm_exploding", 1},
                                           Explosion{"explode_batch_norm", 5, "update_overshoot", 0},
                                           Explosion{"explode_depth", 300, "grad_norm_exploding", 2},
                                           Explosion{"explode_initial_scale", 100, "non_finite", 1},
                                           Explosion{"explode_learning_rate", 300, "non_finite", 1},
                                           Explosion{"explode_recurrent_radius", 300, "non_finite", 2}),
                         [](const auto& info) { return std::string(info.param.job); });

// What deploy/quickstart shows. Whether an explosion is the end hangs on roundings, so it is only certain for the
// engines that are shipped.
TEST(SlowQuickstartTest, ItsJobIsLostWithoutClipping) {
  const absl::StatusOr<RunSummary> summary = Train("char_rnn", 3000);
  if (absl::IsNotFound(summary.status())) GTEST_SKIP() << summary.status().message();
  ASSERT_THAT(summary, gradwatch::testing::IsOk());
  EXPECT_EQ(summary->alerts.count("grad_norm_exploding"), 1u) << ToJson(*summary);
  if (!absl::StartsWith(core::EngineVariant(), "x86-64-v")) GTEST_SKIP() << "this engine is none that is shipped";
  EXPECT_EQ(summary->result.state, v1::JOB_STATE_FAILED) << ToJson(*summary);
}

// No false alarms while a healthy job learns. The adding problem is left out: it starts from weights of 0.001, and is
// rightly warned that they change by more than their size.
class HealthyJobTest : public ::testing::TestWithParam<std::string> {};

TEST_P(HealthyJobTest, LearnsWithoutAnAlert) {
  const absl::StatusOr<RunSummary> summary = Train(GetParam(), 40);
  if (absl::IsNotFound(summary.status())) GTEST_SKIP() << summary.status().message();
  ASSERT_THAT(summary, gradwatch::testing::IsOk());
  EXPECT_TRUE(summary->alerts.empty()) << ToJson(*summary);
  EXPECT_TRUE(std::isfinite(summary->result.final_loss.value()));
}

INSTANTIATE_TEST_SUITE_P(Jobs, HealthyJobTest,
                         ::testing::Values("etth1", "mnist_conv", "mnist_dense", "mnist_residual", "shakespeare_lstm",
                                           "shakespeare_rnn", "shakespeare_transformer"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace gradwatch::worker
