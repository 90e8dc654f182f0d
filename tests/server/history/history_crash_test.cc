// Kills a process that stores statistics, and looks for what it had been promised.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "server/history/statistics_store.h"
#include "tests/server/history/failing_disk.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/long_form.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsLong;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::TempDir;

constexpr char kFolder[] = "GRADWATCH_HISTORY_CRASH_FOLDER";
constexpr char kPipe[] = "GRADWATCH_HISTORY_CRASH_PIPE";
constexpr char kDiesAt[] = "GRADWATCH_HISTORY_CRASH_AT";
constexpr int kJobs = 3;
constexpr int64_t kReports = 20;  // of an append

EncodedReport Report(int64_t step) {
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(step);
  report.set_loss(1.0 / static_cast<double>(step + 1));
  report.add_tensors()->set_l2_norm(static_cast<float>(step));
  return EncodeReport(report);
}

StoreOptions Options(rocksdb::Env* env) {
  StoreOptions options;
  options.env = env;
  options.job_budget.max_bytes = 200'000;
  return options;
}

std::string Uid(int job) { return absl::StrCat("job-", job); }

// The child's part: run only by RunChild below, which ends it. Tells the parent of each append that is committed, with
// the number of its job.
TEST(DISABLED_HistoryCrashChild, Stores) {
  const int pipe = std::atoi(std::getenv(kPipe));
  FailingDisk disk;
  disk.files->dies_at = std::atoll(std::getenv(kDiesAt));
  auto store = StatisticsStore::Open(std::getenv(kFolder), Options(disk.env.get()));
  ASSERT_THAT(store, IsOk());
  std::atomic<int64_t> steps[kJobs];
  for (int job = 0; job < kJobs; ++job) steps[job] = *(*store)->LastStep(Uid(job), 1) + 1;
  std::function<void(int)> append = [&](int job) {
    std::vector<EncodedReport> reports;
    for (int64_t i = 0; i < kReports; ++i) reports.push_back(Report(steps[job]++));
    (*store)->Append(Uid(job), std::move(reports), [&, job](const absl::Status& status, auto) {
      const char told = static_cast<char>('0' + job);
      if (!status.ok() || write(pipe, &told, 1) != 1) _exit(0);
      append(job);
    });
  };
  for (int job = 0; job < kJobs; ++job) append(job);
  while (true) ASSERT_THAT(SettleAndWait(**store), IsOk());
}

// Runs a child until it has made `appends`, then kills it, or until the disk kills it at so many of its operations; how
// many steps of each job it had acknowledged by then.
std::vector<int64_t> RunChild(const std::string& folder, int64_t appends, int64_t dies_at = 0) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    setenv(kFolder, folder.c_str(), 1);
    setenv(kPipe, absl::StrCat(ends[1]).c_str(), 1);
    setenv(kDiesAt, absl::StrCat(dies_at).c_str(), 1);
    execl("/proc/self/exe", "crash_child", "--gtest_filter=DISABLED_HistoryCrashChild.Stores",
          "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    _exit(127);
  }
  close(ends[1]);
  std::vector<int64_t> steps(kJobs, 0);
  int64_t count = 0;
  char told = 0;
  const auto take = [&] {
    if (read(ends[0], &told, 1) != 1) return false;
    steps[static_cast<size_t>(told - '0')] += kReports;
    ++count;
    return true;
  };
  while (count < appends && take()) continue;
  kill(child, SIGKILL);
  while (take()) continue;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  return steps;
}

// Each step once, as it was sent or dropped; returns how many.
int64_t ExpectLossless(StatisticsStore& store, const std::string& uid, std::map<int64_t, v1::StepReport>* reports) {
  const auto entries = store.ReadAfter(uid, 1, -1, SIZE_MAX);
  EXPECT_THAT(entries, IsOk());
  if (!entries.ok()) return 0;
  int64_t next = 0;
  for (const EncodedReport& entry : *entries) {
    EXPECT_EQ(entry.first_step, next);
    next = entry.step + 1;
    if (entry.lost) {
      EXPECT_EQ(DecodeLost(*entry.bytes)->reason(), kDroppedReason);
      continue;
    }
    EXPECT_EQ(*entry.bytes, *Report(entry.step).bytes);
    (*reports)[entry.step] = *DecodeReport(*entry.bytes);
  }
  return next;
}

// The tiers of whole blocks whose reports are there are those of the reports.
void ExpectTiersOf(const std::map<int64_t, v1::StepReport>& reports, BlockSource& source) {
  const auto row = [&](const StepRange& steps, absl::string_view bytes) {
    const absl::StatusOr<Tier> tier = DecodeTier(bytes);
    ASSERT_THAT(tier, IsOk());
    for (int64_t block = steps.first; block <= steps.last; block += kBlockSteps) {
      if (!reports.contains(block) || !reports.contains(block + kBlockSteps - 1)) continue;
      TierBuilder builder(block);
      for (int64_t step = block; step < block + kBlockSteps; ++step) builder.Add(reports.at(step));
      const Tier expected = builder.Tiers()[0];
      for (size_t i = 0; i < kTierFactor; ++i) {
        const auto at = static_cast<size_t>((block - steps.first) / kTierFactor) + i;
        const Bucket& bucket = tier->At(0, at);
        ASSERT_EQ(bucket.count, expected.At(0, i).count) << block;
        ASSERT_EQ(bucket.sum, expected.At(0, i).sum) << block;
        ASSERT_EQ(bucket.last, expected.At(0, i).last) << block;
      }
    }
  };
  EXPECT_THAT(source.ForEachRow(16, TierGroup::kJob, {.first = 0, .last = 1 << 30}, row), IsOk());
}

// What is stored after a child that had acknowledged `more` steps of each job besides what was there, which becomes
// what is there now.
void ExpectKept(const std::string& folder, const std::vector<int64_t>& more, std::vector<int64_t>* there) {
  const auto store = StatisticsStore::Open(folder, Options(nullptr));
  ASSERT_THAT(store, IsOk());
  EXPECT_NE((*store)->found(), StatisticsStore::Found::kDamaged);
  std::vector<std::map<int64_t, v1::StepReport>> reports(kJobs);
  for (int job = 0; job < kJobs; ++job) {
    const auto at = static_cast<size_t>(job);
    const int64_t steps = ExpectLossless(**store, Uid(job), &reports[at]);
    EXPECT_GE(steps, (*there)[at] + more[at]);
    EXPECT_EQ(*(*store)->LastStep(Uid(job), 1), steps - 1);
    (*there)[at] = steps;
  }
  ASSERT_THAT(SettleAndWait(**store), IsOk());
  for (int job = 0; job < kJobs; ++job) {
    ASSERT_NO_FATAL_FAILURE(ExpectTiersOf(reports[static_cast<size_t>(job)], **(*store)->Source(Uid(job), 1)));
  }
}

// Several times in one folder.
TEST(HistoryCrashTest, WhatIsAcknowledgedOutlivesAKill) {
  std::mt19937 random(4);
  const TempDir dir;
  std::vector<int64_t> there;
  for (int round = 0, end = IsLong() ? 100 : 8; round < end; ++round) {
    if (round % 8 == 0) there.assign(kJobs, 0);
    const std::string folder = dir.File(absl::StrCat("history-", round / 8));
    const std::vector<int64_t> more = RunChild(folder, 1 + static_cast<int64_t>(random() % 400));
    ASSERT_NO_FATAL_FAILURE(ExpectKept(folder, more, &there)) << round;
  }
}

// The points at which a kill may leave something half done are the writes, syncs, renamings and deletions of files:
// each of the first ones, those of opening a store that was killed, and then some of those that come with load.
TEST(HistoryCrashTest, WhatIsAcknowledgedOutlivesAKillInTheMiddleOfAWrite) {
  std::mt19937 random(5);
  const TempDir dir;
  std::vector<int64_t> there(kJobs, 0);
  for (int round = 0, end = IsLong() ? 200 : 10; round < end; ++round) {
    if (round % 20 == 0) there.assign(kJobs, 0);
    const std::string folder = dir.File(absl::StrCat("history-", round / 20));
    const int64_t dies_at = round % 2 == 0 ? 1 + round / 2 : 1 + static_cast<int64_t>(random() % 2'000);
    const std::vector<int64_t> more = RunChild(folder, INT64_MAX, dies_at);
    ASSERT_NO_FATAL_FAILURE(ExpectKept(folder, more, &there)) << "killed at operation " << dies_at;
  }
}

}  // namespace
}  // namespace gradwatch::server
