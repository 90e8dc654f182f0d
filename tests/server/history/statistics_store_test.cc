#include "server/history/statistics_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "core/base/error.h"
#include "server/history/conflated_ranges.h"
#include "server/history/history_database.h"
#include "server/history/history_rows.h"
#include "server/history/report_batch.h"
#include "tests/server/history/failing_disk.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using ::testing::Optional;
using ::testing::SizeIs;
using Found = StatisticsStore::Found;

// Keeps tasks until it is told to run them.
class HeldExecutor final : public Executor {
 public:
  void Run(absl::AnyInvocable<void()> task) override {
    absl::MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  void RunAll() {
    std::vector<absl::AnyInvocable<void()>> tasks;
    {
      absl::MutexLock lock(&mutex_);
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) task();
  }

 private:
  absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
};

class StatisticsStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.env = QuickDisk();
    Reopen();
  }

  void Reopen() {
    store_.reset();
    auto store = StatisticsStore::Open(dir_.File("history"), options_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  // "attempt:step=loss" or "attempt:first-last reason", everything of the job from the start, read in parts of
  // `max_bytes`.
  std::vector<std::string> ReadAll(const std::string& uid, size_t max_bytes = 1 << 20) {
    std::vector<std::string> all;
    int32_t attempt = 0;
    int64_t step = -1;
    for (;;) {
      const auto reports = store_->ReadAfter(uid, attempt, step, max_bytes);
      EXPECT_THAT(reports, IsOk());
      if (!reports.ok() || reports->empty()) return all;
      for (const EncodedReport& report : *reports) {
        all.push_back(absl::StrCat(report.attempt, ":", Describe(report)));
      }
      attempt = reports->back().attempt;
      step = reports->back().step;
    }
  }

  // The same while it is open, packed, and after a restart.
  void ExpectAlways(const std::string& uid, const std::vector<std::string>& expected) {
    for (const size_t max_bytes : {1, 100, 1 << 20}) EXPECT_EQ(ReadAll(uid, max_bytes), expected) << max_bytes;
    Reopen();
    EXPECT_EQ(ReadAll(uid), expected) << "from the journal";
    EXPECT_THAT(SettleAndWait(*store_), IsOk());
    for (const size_t max_bytes : {1, 100, 1 << 20}) EXPECT_EQ(ReadAll(uid, max_bytes), expected) << "packed";
    Reopen();
    EXPECT_EQ(ReadAll(uid), expected) << "packed and loaded";
  }

  void Settle() { ASSERT_THAT(SettleAndWait(*store_), IsOk()); }

  // After all that was queued.
  void Wait() {
    absl::Notification passed;
    store_->Barrier([&] { passed.Notify(); });
    passed.WaitForNotification();
  }

  const TempDir dir_;
  FakeClock clock_;
  StoreOptions options_;
  std::unique_ptr<StatisticsStore> store_;
};

TEST_F(StatisticsStoreTest, KeepsReportsByAttemptAndStep) {
  EXPECT_EQ(store_->found(), Found::kNew);
  EXPECT_THAT(ReadAll("u"), IsEmpty());
  EXPECT_EQ(*store_->LastStep("u", 1), -1);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 2)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(2, 1, 1, 5)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 7, 7)), IsOk());
  ExpectAlways("u", {"1:0=1", "1:1=1", "1:2=1", "2:1=5"});
  ExpectAlways("v", {"1:7=1"});
  EXPECT_EQ(store_->found(), Found::kSound);
  EXPECT_THAT(store_->Uids(), ElementsAre("u", "v"));
  EXPECT_EQ(*store_->LastStep("u", 1), 2);
  EXPECT_EQ(*store_->LastStep("u", 2), 1);
  EXPECT_EQ(*store_->LastStep("u", 3), -1);
}

TEST_F(StatisticsStoreTest, ReadsInPartsOfAboutTheSizeWanted) {
  for (const bool is_packed : {false, true}) {
    ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 599)), IsOk());
    if (is_packed) Settle();
    const size_t one = MakeReport(1, 1).bytes->size();
    EXPECT_EQ(store_->ReadAfter("u", 1, 9, 10 * one)->size(), 10u);
    EXPECT_EQ(store_->ReadAfter("u", 1, 9, 0)->size(), 1u);
    EXPECT_EQ(store_->ReadAfter("u", 1, 255, 0)->front().step, 256);
    EXPECT_EQ(ReadAll("u", 7 * one).size(), 600u);
  }
}

TEST_F(StatisticsStoreTest, AStepThatIsStoredIsReplaced) {
  for (const bool is_packed : {false, true}) {
    const std::string uid = is_packed ? "packed" : "open";
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 0, 4)), IsOk());
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 8, 9)), IsOk());
    if (is_packed) Settle();
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 3, 6, 2)), IsOk());
    if (is_packed) Settle();
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 1, 1, 3)), IsOk());
    ExpectAlways(uid, {"1:0=1", "1:1=3", "1:2=1", "1:3=2", "1:4=2", "1:5=2", "1:6=2", "1:8=1", "1:9=1"});
  }
}

TEST_F(StatisticsStoreTest, KeepsLostRangesAmongTheReports) {
  std::vector<EncodedReport> batch = MakeReports(1, 0, 1);
  batch.push_back(EncodeLost(1, 2, 5, "away"));
  batch.push_back(MakeReport(1, 6));
  batch.push_back(EncodeLost(1, 7, 900, "away"));
  ASSERT_THAT(AppendAndWait(*store_, "u", std::move(batch)), IsOk());
  EXPECT_EQ(*store_->LastStep("u", 1), 900);
  ExpectAlways("u", {"1:0=1", "1:1=1", "1:2-5 away", "1:6=1", "1:7-900 away"});
  EXPECT_EQ(*store_->LastStep("u", 1), 900);
  const auto inside = store_->ReadAfter("u", 1, 3, 1);
  ASSERT_THAT(inside, IsOk());
  EXPECT_EQ(Describe(inside->at(0)), "4-5 away");
}

TEST_F(StatisticsStoreTest, LostRangesThatAreSentAgainAreNotDoubled) {
  const EncodedReport lost = EncodeLost(1, 2, 5, "away");
  ASSERT_THAT(AppendAndWait(*store_, "u", {MakeReport(1, 0), MakeReport(1, 1), lost}), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", {lost, MakeReport(1, 6)}), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", {EncodeLost(1, 4, 7, "again")}), IsOk());
  ExpectAlways("u", {"1:0=1", "1:1=1", "1:2-3 away", "1:4-5 again", "1:6=1", "1:7-7 again"});
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 4, 2)), IsOk());
  ExpectAlways("u", {"1:0=1", "1:1=1", "1:2-2 away", "1:3=2", "1:4=2", "1:5-5 again", "1:6=1", "1:7-7 again"});
}

// Against a map as the model: random attempts that go back, blocks that are packed at any time, restarts.
TEST_F(StatisticsStoreTest, HoldsWhatAModelHolds) {
  std::mt19937 random(7);
  const auto uniform = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  std::map<std::pair<int32_t, int64_t>, std::string> model;
  for (int round = 0; round < 300; ++round) {
    const int32_t attempt = uniform(1, 3);
    int64_t step = uniform(0, 900);
    std::vector<EncodedReport> reports;
    for (int i = uniform(1, 40); i > 0; --i) {
      v1::StepReport report;
      report.set_attempt(attempt);
      report.set_step(step);
      report.set_loss(round);
      for (int k = uniform(0, 30) == 0 ? 4000 : 1; k > 0; --k) report.add_tensors()->set_l2_norm(static_cast<float>(k));
      reports.push_back(EncodeReport(report));
      model[{attempt, step}] = *reports.back().bytes;
      step += uniform(1, 3);
    }
    if (round % 10 == 9) {
      ASSERT_THAT(AppendAndWait(*store_, "u", std::move(reports)), IsOk());
    } else {
      store_->Append("u", std::move(reports), [](const absl::Status&, std::vector<EncodedReport>) {});
    }
    if (uniform(0, 9) == 0) Settle();
    if (round % 50 == 49) Reopen();
  }
  for (const bool is_packed : {false, true}) {
    if (is_packed) Settle();
    auto expected = model.begin();
    const auto all = store_->ReadAfter("u", 0, -1, SIZE_MAX);
    ASSERT_THAT(all, IsOk());
    ASSERT_EQ(all->size(), model.size());
    for (const EncodedReport& report : *all) {
      ASSERT_EQ(std::make_pair(report.attempt, report.step), expected->first);
      ASSERT_EQ(*report.bytes, expected->second) << report.step;
      ++expected;
    }
  }
}

TEST_F(StatisticsStoreTest, GivesTheReportsBackInOrder) {
  absl::BlockingCounter done(100);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < 100; ++i) {
    store_->Append(absl::StrCat("job-", i % 3), MakeReports(1, i, i),
                   [&, i](const absl::Status& status, std::vector<EncodedReport> reports) {
                     EXPECT_THAT(status, IsOk());
                     ASSERT_EQ(reports.size(), 1u);
                     EXPECT_EQ(reports[0].step, i);
                     EXPECT_EQ(*reports[0].bytes, *MakeReport(1, i).bytes);
                     EXPECT_EQ(*store_->LastStep(absl::StrCat("job-", i % 3), 1) >= i, true) << "it can be read";
                     order.push_back(i);
                     done.DecrementCount();
                   });
  }
  done.Wait();
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(StatisticsStoreTest, ABarrierComesAfterWhatWasQueued) {
  absl::Notification hold, passed;
  store_->Barrier([&] { hold.WaitForNotification(); });
  std::vector<int> order;
  store_->Append("u", MakeReports(1, 0, 0), [&](const absl::Status&, auto) { order.push_back(1); });
  store_->Barrier([&] {
    order.push_back(2);
    EXPECT_EQ(store_->ReadAfter("u", 0, -1, 0)->size(), 1u);
  });
  store_->Append("u", MakeReports(1, 1, 1), [&](const absl::Status&, auto) { order.push_back(3); });
  store_->Barrier([&] { passed.Notify(); });
  hold.Notify();
  passed.WaitForNotification();
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST_F(StatisticsStoreTest, RemovesAJobAndNothingElse) {
  for (const bool is_packed : {false, true}) {
    ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
    ASSERT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 0, 9)), IsOk());
    if (is_packed) Settle();
    absl::Notification removed;
    store_->Remove("u", [&removed] { removed.Notify(); });
    store_->Remove("never-there", [] {});
    Wait();
    EXPECT_THAT(ReadAll("u"), IsEmpty());
    EXPECT_EQ(ReadAll("v").size(), 10u);
    removed.WaitForNotification();
    Reopen();
    EXPECT_THAT(ReadAll("u"), IsEmpty()) << "the journal knows it";
    EXPECT_THAT(store_->Uids(), ElementsAre("v"));
    ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 3)), IsOk());
    ExpectAlways("u", {"1:3=1"});
    store_->Remove("u", [] {});
    Wait();
  }
}

TEST_F(StatisticsStoreTest, SpaceIsGivenBackElsewhere) {
  HeldExecutor executor;
  options_.executor = &executor;
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 999)), IsOk());
  Settle();
  bool is_removed = false;
  store_->Remove("u", [&is_removed] { is_removed = true; });
  Wait();
  EXPECT_THAT(ReadAll("u"), IsEmpty()) << "it is gone at once";
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 3)), IsOk());
  Settle();
  EXPECT_FALSE(is_removed);
  executor.RunAll();
  EXPECT_TRUE(is_removed);
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:3=1"));
  store_->Remove("u", [] { ADD_FAILURE() << "the store has ended"; });
  Settle();
  store_.reset();
  executor.RunAll();
}

TEST_F(StatisticsStoreTest, RefusesWhatIsNoUid) {
  for (const char* uid : {"", "../u", "a/b", ".", "a b", "\xff", "0123456789012345678901234567890123456"}) {
    EXPECT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 0, 0)), StatusIs(absl::StatusCode::kInvalidArgument, _));
    EXPECT_THAT(store_->ReadAfter(uid, 0, -1, 10), StatusIs(absl::StatusCode::kInvalidArgument, _));
    EXPECT_THAT(store_->LastStep(uid, 0), StatusIs(absl::StatusCode::kInvalidArgument, _));
    EXPECT_THAT(store_->Source(uid, 1), StatusIs(absl::StatusCode::kInvalidArgument, _));
    store_->Remove(uid, [] {});
    store_->Protect(uid, 1, 0, 1);
    store_->SetBudget(uid, {});
  }
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  EXPECT_THAT(store_->Uids(), ElementsAre("u"));
}

TEST_F(StatisticsStoreTest, FilesAreForTheirUserOnly) {
  struct stat info = {};
  ASSERT_EQ(stat(dir_.File("history").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST_F(StatisticsStoreTest, TellsWhatCouldNotBeStoredAndHeals) {
  FailingDisk disk;
  options_.env = disk.env.get();
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  EXPECT_EQ(store_->Usage().stopped, "");
  disk.files->is_full = true;
  const absl::Status full = AppendAndWait(*store_, "u", MakeReports(1, 1, 1));
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(core::GetReason(full), "STORAGE_FULL");
  EXPECT_THAT(store_->Usage().stopped, Not(IsEmpty()));
  EXPECT_EQ(store_->Usage().stopped_since, clock_.Now());
  EXPECT_EQ(store_->ReadAfter("u", 0, -1, 1000)->size(), 1u) << "reading goes on";
  EXPECT_THAT(SettleAndWait(*store_), Not(IsOk()));
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 1, 1)), Not(IsOk())) << "it was tried";
  disk.files->is_full = false;
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 1)), StatusIs(absl::StatusCode::kResourceExhausted, _))
      << "what failed is not tried again at once";
  clock_.Advance(absl::Seconds(2));
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 1)), IsOk());
  EXPECT_EQ(store_->Usage().stopped, "");
  ExpectAlways("u", {"1:0=1", "1:1=1"});
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, NothingIsStoredBehindWhatIsMissing) {
  FailingDisk disk;
  options_.env = disk.env.get();
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  disk.files->is_full = true;
  absl::Notification over;
  absl::Status behind;
  store_->Append("u", MakeReports(1, 1, 1), [&](const absl::Status& status, auto) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
  });
  store_->Append("u", MakeReports(1, 2, 2), [&](const absl::Status& status, auto) {
    behind = status;
    over.Notify();
  });
  over.WaitForNotification();
  Wait();
  EXPECT_THAT(behind, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(*store_->LastStep("u", 1), 0);
  disk.files->is_full = false;
  clock_.Advance(absl::Seconds(1));
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 2)), IsOk());
  EXPECT_EQ(*store_->LastStep("u", 1), 2);
  store_.reset();  // before the disk
}

// What is queued before a job has heard of a failure fails, too, though the store has healed by then.
TEST_F(StatisticsStoreTest, NothingIsStoredBehindAFailureThatIsNotHeardOf) {
  FailingDisk disk;
  options_.env = disk.env.get();
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  disk.files->is_full = true;
  absl::Notification over;
  store_->Append("u", MakeReports(1, 1, 1), [&](const absl::Status& status, auto) {
    EXPECT_THAT(status, Not(IsOk()));
    disk.files->is_full = false;
    clock_.Advance(absl::Seconds(1));
    store_->Append("u", MakeReports(1, 2, 2), [&](const absl::Status& behind, auto) {
      EXPECT_THAT(behind, StatusIs(absl::StatusCode::kResourceExhausted, _));
    });
    store_->Append("v", MakeReports(1, 2, 2), [&](const absl::Status& of_another, auto) {
      EXPECT_THAT(of_another, IsOk());
      over.Notify();
    });
  });
  over.WaitForNotification();
  EXPECT_EQ(*store_->LastStep("u", 1), 0);
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 2)), IsOk());
  EXPECT_EQ(*store_->LastStep("u", 1), 2);
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, LeavesAReserveToTheRestOfTheServer) {
  std::atomic<int64_t> free = int64_t{64} << 20;
  options_.free_bytes = [&free]() -> absl::StatusOr<int64_t> { return free.load(); };
  Reopen();
  const auto append = [&](int64_t step) {
    clock_.Advance(absl::Seconds(1));
    return AppendAndWait(*store_, "u", MakeReports(1, step, step));
  };
  EXPECT_THAT(append(0), IsOk());
  --free;
  const absl::Status full = append(1);
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("the server's disk is full")));
  EXPECT_EQ(core::GetReason(full), "STORAGE_FULL");
  EXPECT_EQ(store_->Usage().free_bytes, free);
  EXPECT_THAT(store_->Usage().stopped, HasSubstr("the server's disk is full"));
  free = (int64_t{96} << 20) - 1;
  EXPECT_THAT(append(1), Not(IsOk())) << "not at the first free byte";
  ++free;
  EXPECT_THAT(append(1), IsOk());
  EXPECT_EQ(store_->Usage().stopped, "");
}

// Reports as trainers send them, of a few tensors.
v1::StepReport FullReport(int64_t step) {
  std::mt19937 random(static_cast<uint32_t>(step));
  std::normal_distribution<float> normal;
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(step);
  report.set_loss(2 + 0.1 * normal(random));
  report.set_grad_norm(std::abs(normal(random)));
  for (int i = 0; i < 6; ++i) {
    v1::TensorStats* tensor = report.add_tensors();
    tensor->set_tensor(i);
    tensor->set_l2_norm(std::abs(normal(random)));
    tensor->set_max_abs(std::abs(normal(random)));
    tensor->set_mean(normal(random));
  }
  v1::LayerStats* layer = report.add_layers();
  layer->set_name("activation0");
  layer->set_saturated(0.5F);
  return report;
}

std::vector<EncodedReport> FullReports(int64_t first_step, int64_t last_step) {
  std::vector<EncodedReport> reports;
  for (int64_t step = first_step; step <= last_step; ++step) reports.push_back(EncodeReport(FullReport(step)));
  return reports;
}

// All tiers of a level that are kept, as the source gives them, bucket by bucket from `first` on.
std::map<int64_t, Bucket> BucketsOf(BlockSource& source, int64_t level, TierGroup group, size_t series) {
  std::map<int64_t, Bucket> buckets;
  const auto row = [&](const StepRange& steps, absl::string_view bytes) {
    const absl::StatusOr<Tier> tier = DecodeTier(bytes);
    ASSERT_THAT(tier, IsOk());
    ASSERT_EQ(static_cast<int64_t>(tier->buckets) * level, steps.steps());
    for (size_t i = 0; i < tier->buckets; ++i) {
      EXPECT_TRUE(buckets.emplace(steps.first + static_cast<int64_t>(i) * level, tier->At(series, i)).second);
    }
  };
  EXPECT_THAT(source.ForEachRow(level, group, {.first = 0, .last = 1 << 30}, row), IsOk());
  return buckets;
}

// As they are made of the reports, always in the same order.
std::map<int64_t, Bucket> ExpectedBuckets(int64_t level, int64_t last_step, TierGroup group, size_t series) {
  if (level > 16) {
    std::map<int64_t, Bucket> buckets;
    for (const auto& [step, bucket] : ExpectedBuckets(level / 16, last_step, group, series)) {
      Bucket& coarse = buckets[step / level * level];
      coarse.Merge(bucket);
    }
    if (group != TierGroup::kJob) {
      for (auto& [step, bucket] : buckets) bucket.sum = static_cast<float>(bucket.sum);
    }
    return buckets;
  }
  std::map<int64_t, Bucket> buckets;
  for (int64_t block = 0; block <= last_step; block += kBlockSteps) {
    TierBuilder builder(block);
    for (int64_t step = block; step < block + kBlockSteps && step <= last_step; ++step) builder.Add(FullReport(step));
    for (const Tier& tier : builder.Tiers()) {
      if (tier.group != group) continue;
      for (size_t i = 0; i < tier.buckets; ++i) buckets[block + static_cast<int64_t>(i) * 16] = tier.At(series, i);
    }
  }
  return buckets;
}

void ExpectSame(const std::map<int64_t, Bucket>& buckets, const std::map<int64_t, Bucket>& expected, int64_t last) {
  for (const auto& [step, bucket] : expected) {
    if (step > last) break;
    const auto found = buckets.find(step);
    ASSERT_NE(found, buckets.end()) << step;
    EXPECT_EQ(found->second.count, bucket.count) << step;
    EXPECT_EQ(found->second.sum, bucket.sum) << step;
    if (bucket.count == 0) continue;
    EXPECT_EQ(found->second.min, bucket.min) << step;
    EXPECT_EQ(found->second.max, bucket.max) << step;
    EXPECT_EQ(found->second.last, bucket.last) << step;
  }
}

TEST_F(StatisticsStoreTest, TiersAreThoseOfTheReports) {
  constexpr int64_t kLast = 9999;
  std::mt19937 random(5);
  for (int64_t step = 0; step <= kLast;) {
    const int64_t last = std::min(kLast, step + static_cast<int64_t>(random() % 700));
    ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(step, last)), IsOk());
    if (random() % 3 == 0) Settle();
    if (random() % 10 == 0) Reopen();
    step = last + 1;
  }
  Settle();
  const auto source = *store_->Source("u", 1);
  EXPECT_THAT(source->Kept(1), ElementsAre(StepRange{0, kLast}));
  EXPECT_THAT(source->Kept(16), ElementsAre(StepRange{0, kLast}));
  EXPECT_THAT(source->Kept(256), ElementsAre(StepRange{0, 8191}));
  EXPECT_THAT(source->Kept(4096), IsEmpty()) << "not before their 65,536 steps are over";
  for (const int64_t level : {16, 256}) {
    for (const TierGroup group : {TierGroup::kJob, TierGroup::kTensorNorm, TierGroup::kLayerSaturated}) {
      const int64_t last = source->Kept(level).back().last;
      ExpectSame(BucketsOf(*source, level, group, 0), ExpectedBuckets(level, kLast, group, 0), last);
    }
  }
  EXPECT_THAT(store_->LayerNames("u"), ElementsAre("activation0"));
  Reopen();
  EXPECT_THAT(store_->LayerNames("u"), ElementsAre("activation0"));
  EXPECT_GT(store_->UsageOf("u").report_bytes, 0);
  EXPECT_GT(store_->UsageOf("u").range_bytes, 0);
  EXPECT_THAT(store_->UsageOf("u").first_step, Optional(Eq(0)));
}

TEST_F(StatisticsStoreTest, StepsThatComeAgainChangeAllTheirTiers) {
  ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(0, 5000)), IsOk());
  Settle();
  v1::StepReport again = FullReport(700);
  again.set_loss(1e6);
  ASSERT_THAT(AppendAndWait(*store_, "u", {EncodeReport(again)}), IsOk());
  Settle();
  const auto source = *store_->Source("u", 1);
  const auto loss = static_cast<size_t>(JobSeries::kLoss);
  for (const int64_t level : {16, 256}) {
    const auto buckets = BucketsOf(*source, level, TierGroup::kJob, loss);
    EXPECT_EQ(buckets.at(700 / level * level).max, 1e6);
    const auto expected = ExpectedBuckets(level, 5000, TierGroup::kJob, loss);
    EXPECT_EQ(buckets.at(1024).sum, expected.at(1024).sum) << "others stay";
  }
}

// A source goes on to see what it saw, wherever it lies by now.
TEST_F(StatisticsStoreTest, ASourceOutlivesPacking) {
  ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(0, 300)), IsOk());
  const auto source = *store_->Source("u", 1);
  EXPECT_THAT(source->Kept(1), ElementsAre(StepRange{0, 300}));
  ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(301, 400)), IsOk());
  StatisticsQuestion question;
  question.max_points = 1000;
  const auto ask = [&] { return *AnswerQuestion(question, {}, source.get()); };
  const StatisticsAnswer before = ask();
  ASSERT_EQ(before.points.size(), 301u);
  Settle();
  const StatisticsAnswer after = ask();
  ASSERT_EQ(after.points.size(), 301u);
  for (size_t i = 0; i < 301; ++i) EXPECT_EQ(after.series[0].points[i].last, before.series[0].points[i].last) << i;
  EXPECT_THAT((*store_->Source("nobody", 1))->Kept(1), IsEmpty());
}

TEST_F(StatisticsStoreTest, ReportsAreKeptToABudgetAndWhatWentIsTold) {
  options_.job_budget.max_bytes = 100'000;
  Reopen();
  store_->Protect("u", 1, 1000, 1100);  // of a job that is not there yet: nothing
  ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(0, 2559)), IsOk());
  store_->Protect("u", 1, 1000, 1100);
  for (int64_t step = 2560; step < 7680; step += 256) {
    clock_.Advance(absl::Seconds(2));
    ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(step, step + 255)), IsOk());
    Settle();
    EXPECT_LE(store_->UsageOf("u").report_bytes, 100'000);
  }
  EXPECT_GT(store_->UsageOf("u").report_bytes, 60'000) << "and not much less";
  for (const bool is_loaded : {false, true}) {
    if (is_loaded) Reopen();
    const std::vector<std::string> all = ReadAll("u");
    EXPECT_EQ(all.front(), absl::StrCat("1:0-767 ", kDroppedReason));
    EXPECT_EQ(all[1].substr(0, 6), "1:768=") << "around the alert";
    EXPECT_THAT(all[1 + 512], AllOf(HasSubstr("1:1280-"), HasSubstr(kDroppedReason)));
    EXPECT_EQ(*store_->LastStep("u", 1), 7679);
    const auto source = *store_->Source("u", 1);
    EXPECT_THAT(source->Kept(1), SizeIs(2));
    ASSERT_THAT(source->Kept(256), SizeIs(1)) << "it stays";
    EXPECT_EQ(source->Kept(256)[0].first, 0);
    EXPECT_GE(source->Kept(256)[0].last, 4095);
    StatisticsQuestion question;
    question.max_points = 30;
    const StatisticsAnswer answer = *AnswerQuestion(question, {}, source.get());
    EXPECT_EQ(answer.gaps.front().reason, kDroppedReason);
    EXPECT_EQ(answer.points.front().first, 0);
  }
}

// Reports and ranges of 16 steps of the first part of a block are dropped; then the rest of it comes.
TEST_F(StatisticsStoreTest, ASpikeStaysInRangesWhateverComesAfterItWasDropped) {
  std::vector<EncodedReport> reports = MakeReports(1, 0, 99);
  reports[97] = MakeReport(1, 97, 1e9);
  ASSERT_THAT(AppendAndWait(*store_, "u", std::move(reports)), IsOk());
  Settle();
  store_->SetBudget("u", {.max_bytes = 4});
  Settle();
  EXPECT_THAT(ReadAll("u"), ElementsAre(absl::StrCat("1:0-99 ", kDroppedReason)));
  EXPECT_THAT((*store_->Source("u", 1))->Kept(16), IsEmpty());
  store_->SetBudget("u", {});
  for (int64_t step = 100; step < 4300; step += 100) {
    ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, step, step + 99)), IsOk());
    if (step % 1000 == 0) Settle();
  }
  Settle();
  const auto source = *store_->Source("u", 1);
  const auto buckets = BucketsOf(*source, 256, TierGroup::kJob, static_cast<size_t>(JobSeries::kLoss));
  ASSERT_TRUE(buckets.contains(3840));
  EXPECT_EQ(buckets.at(0).max, 1e9);
  for (int64_t step = 0; step < 4096; step += 256) EXPECT_EQ(buckets.at(step).count, 256) << step;
  EXPECT_EQ(buckets.at(256).max, 1);
}

// The head of a row of 4,096 steps is dropped before the rest of it comes.
TEST_F(StatisticsStoreTest, WhatWasDroppedOfARowIsNotKeptWhenTheRestIsJoined) {
  std::vector<EncodedReport> reports = MakeReports(1, 0, 299);
  reports[97] = MakeReport(1, 97, 1e9);
  ASSERT_THAT(AppendAndWait(*store_, "u", std::move(reports)), IsOk());
  Settle();
  store_->SetBudget("u", {.max_bytes = 4});
  Settle();
  store_->SetBudget("u", {});
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 512, 9000)), IsOk());
  Settle();
  for (const bool is_loaded : {false, true}) {
    if (is_loaded) Reopen();
    const auto source = *store_->Source("u", 1);
    EXPECT_THAT(source->Kept(16), ElementsAre(StepRange{512, 8991}));
    StatisticsQuestion question;
    question.steps = {.first = 0, .last = 1000};
    question.max_points = 60;
    const StatisticsAnswer answer = *AnswerQuestion(question, {}, source.get());
    ASSERT_EQ(answer.level, 16);
    EXPECT_EQ(answer.points.front().first, 0);
    EXPECT_EQ(answer.series[0].points.front().max, 1e9) << "the coarser level has it";
  }
}

// What goes is what was asked for; what comes again of steps that the next level has is in it before they go, too.
TEST_F(StatisticsStoreTest, ASpikeThatComesLateStaysWhenItsRangesAreDropped) {
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 255)), IsOk());
  Settle();
  clock_.Advance(absl::Hours(2));
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 256, 1023)), IsOk());
  Settle();
  store_->SetBudget("u", {.max_bytes = 0, .max_age = absl::Hours(1)});
  Settle();
  EXPECT_THAT((*store_->Source("u", 1))->Kept(16), ElementsAre(StepRange{256, 1023}));
  ASSERT_THAT(AppendAndWait(*store_, "u", {MakeReport(1, 300, 1e9)}), IsOk());
  Settle();
  clock_.Advance(absl::Hours(2));
  Settle();
  const auto source = *store_->Source("u", 1);
  EXPECT_THAT(source->Kept(16), IsEmpty());
  const auto buckets = BucketsOf(*source, 256, TierGroup::kJob, static_cast<size_t>(JobSeries::kLoss));
  ASSERT_TRUE(buckets.contains(768));
  EXPECT_EQ(buckets.at(256).max, 1e9);
  for (int64_t step = 0; step < 1024; step += 256) EXPECT_EQ(buckets.at(step).count, 256) << step;
}

// The journal still has what was stored and dropped already, since something older lies in no batch.
TEST_F(StatisticsStoreTest, WhatWasDroppedDoesNotComeBackFromTheJournal) {
  ASSERT_THAT(AppendAndWait(*store_, "open", MakeReports(1, 0, 0)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 255)), IsOk());
  const auto wait_for = [this](auto holds) {
    for (const absl::Time end = absl::Now() + absl::Seconds(20); !holds() && absl::Now() < end;) Wait();
    ASSERT_TRUE(holds());
  };
  wait_for([this] { return store_->UsageOf("u").report_bytes > 0; });
  store_->SetBudget("u", {.max_bytes = 4});
  clock_.Advance(absl::Seconds(1));
  const std::string dropped = absl::StrCat("1:0-255 ", kDroppedReason);
  wait_for([&] { return ReadAll("u") == std::vector<std::string>{dropped}; });
  Reopen();
  EXPECT_THAT(ReadAll("u"), ElementsAre(dropped));
  Settle();
  EXPECT_THAT(ReadAll("u"), ElementsAre(dropped));
  const auto source = *store_->Source("u", 1);
  const auto buckets = BucketsOf(*source, 256, TierGroup::kJob, static_cast<size_t>(JobSeries::kLoss));
  ASSERT_TRUE(buckets.contains(0));
  EXPECT_EQ(buckets.at(0).count, 256) << "each once";
}

TEST_F(StatisticsStoreTest, NamesOfLayersAreStoredThoughTheFirstTryFails) {
  FailingDisk disk;
  options_.env = disk.env.get();
  Reopen();
  std::atomic<bool> fails = false;
  store_->Append("u", FullReports(0, 99), [&](const absl::Status& status, auto) {
    fails = !status.ok();
    disk.files->is_full = true;  // before they are taken apart, or their names are stored
  });
  EXPECT_THAT(SettleAndWait(*store_), Not(IsOk()));
  ASSERT_FALSE(fails);
  disk.files->is_full = false;
  clock_.Advance(absl::Seconds(1));
  ASSERT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 0, 0)), IsOk());
  Settle();
  EXPECT_THAT(store_->LayerNames("u"), ElementsAre("activation0"));
  Reopen();
  EXPECT_THAT(store_->LayerNames("u"), ElementsAre("activation0"));
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, ADamagedFolderIsCopiedWhenThereIsRoom) {
  std::atomic<int64_t> free = int64_t{64} << 20;
  options_.free_bytes = [&free]() -> absl::StatusOr<int64_t> { return free.load(); };
  Reopen();
  for (const char* uid : {"a", "b"}) ASSERT_THAT(AppendAndWait(*store_, uid, FullReports(0, 999)), IsOk());
  Settle();
  store_.reset();
  std::string table;
  for (const auto& file : std::filesystem::directory_iterator(dir_.File("history"))) {
    const bool is_larger = table.empty() || file.file_size() > std::filesystem::file_size(table);
    if (file.path().extension() == ".sst" && is_larger) table = file.path();
  }
  std::fstream stream(table, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(1000);
  stream.write("damaged", 7);
  stream.close();
  Reopen();
  const auto folder = [this] {
    struct stat info = {};
    EXPECT_EQ(stat(dir_.File("history").c_str(), &info), 0);
    return info.st_ino;
  };
  const auto before = folder();
  absl::Notification removed;
  store_->Remove("b", [&removed] { removed.Notify(); });  // compaction comes across it
  removed.WaitForNotification();
  Settle();
  EXPECT_EQ(folder(), before) << "there is no room";
  ASSERT_THAT(AppendAndWait(*store_, "c", FullReports(0, 9)), IsOk());
  free = int64_t{72} << 20;  // for what is there, and not for what is set aside for a log
  clock_.Advance(absl::Seconds(1));
  ASSERT_THAT(AppendAndWait(*store_, "c", FullReports(10, 19)), IsOk()) << "it is looked at";
  Settle();
  EXPECT_NE(folder(), before);
  EXPECT_THAT(ReadAll("c"), SizeIs(20));
  EXPECT_THAT(ReadAll("a"), Contains(HasSubstr(kDamagedReason)));
}

// Rows of the index are damaged after they were read: who is asked knows them, and the next start would not.
TEST_F(StatisticsStoreTest, ACopyOfADamagedFolderHasTheWholeIndex) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  options_.env = disk.env.get();
  Reopen();
  for (const char* uid : {"a", "b"}) ASSERT_THAT(AppendAndWait(*store_, uid, FullReports(0, 999)), IsOk());
  Settle();
  disk.files->is_full =
      true;  // "0": before the rows that will be damaged, behind which nothing is found up to the next
  EXPECT_THAT(AppendAndWait(*store_, "0", FullReports(0, 9)), Not(IsOk()));
  disk.files->is_full = false;
  clock_.Advance(absl::Seconds(1));
  ASSERT_THAT(AppendAndWait(*store_, "0", FullReports(0, 9)), IsOk()) << "what was there lies in a table now";
  const std::string item = std::string("ia\0", 3);
  bool is_spoilt = false;
  for (const auto& file : std::filesystem::directory_iterator(dir_.File("history"))) {
    if (file.path().extension() != ".sst") continue;
    std::fstream stream(file.path(), std::ios::binary | std::ios::in | std::ios::out);
    const std::string bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    const size_t at = bytes.find(item);
    if (at == std::string::npos) continue;
    stream.clear();  // it was read to its end
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put('x');
    is_spoilt = true;
  }
  ASSERT_TRUE(is_spoilt);
  absl::Notification removed;
  store_->Remove("b", [&removed] { removed.Notify(); });  // compaction comes across it
  removed.WaitForNotification();
  clock_.Advance(absl::Seconds(1));
  Settle();
  for (const bool is_loaded : {false, true}) {
    if (is_loaded) Reopen();
    EXPECT_THAT(ReadAll("a"), SizeIs(1000));
    EXPECT_THAT(ReadAll("0"), SizeIs(10));
  }
  store_.reset();  // before the disk
}

// The last second before the disk ran short is not less durable than any other.
TEST_F(StatisticsStoreTest, WhatWasStoredBeforeTheDiskRanShortBecomesDurable) {
  FailingDisk disk;
  std::atomic<bool> counts = false;
  absl::Notification synced;
  disk.files->before_log_sync = [&] {
    if (counts.exchange(false)) synced.Notify();
  };
  options_.env = disk.env.get();
  std::atomic<int64_t> free = int64_t{64} << 20;
  options_.free_bytes = [&free]() -> absl::StatusOr<int64_t> { return free.load(); };
  Reopen();
  counts = true;
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
  --free;
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 10, 10)), Not(IsOk()));
  EXPECT_TRUE(synced.WaitForNotificationWithTimeout(absl::Seconds(10)));
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, ADeletionThatGivesItsSpaceBackHoldsNobodyUp) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  std::atomic<bool> is_slow = false;
  absl::Notification go_on;
  disk.files->before_table = [&] {
    if (is_slow) go_on.WaitForNotification();
  };
  options_.env = disk.env.get();
  Reopen();
  for (const char* uid : {"a", "b"}) ASSERT_THAT(AppendAndWait(*store_, uid, FullReports(0, 999)), IsOk());
  Settle();
  Reopen();
  is_slow = true;
  std::atomic<bool> is_removed = false;
  store_->Remove("a", [&is_removed] { is_removed = true; });
  Wait();
  ASSERT_THAT(AppendAndWait(*store_, "b", FullReports(1000, 1999)), IsOk());
  absl::Notification settled;
  store_->Settle([&](const absl::Status& status) {
    EXPECT_THAT(status, IsOk());
    settled.Notify();
  });
  EXPECT_TRUE(settled.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_FALSE(is_removed);
  EXPECT_THAT(ReadAll("b"), SizeIs(2000));
  go_on.Notify();
  settled.WaitForNotification();
  store_.reset();  // before the disk
}

// Rows are large where there are many tensors: one of each file was read, and the one behind the block.
TEST_F(StatisticsStoreTest, ABlockIsReadWithoutOtherRows) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  std::atomic<int> reads = 0;
  disk.files->before_read = [&reads] { ++reads; };
  options_.env = disk.env.get();
  for (int64_t block = 0; block < 6; ++block) {
    Reopen();  // what was packed before becomes a file
    ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(block * kBlockSteps, (block + 1) * kBlockSteps - 1)), IsOk());
    Settle();
  }
  Reopen();
  const auto source = store_->Source("a", 1);
  ASSERT_THAT(source, IsOk());
  reads = 0;
  std::vector<int64_t> found;
  const absl::Status status = ReadReports({7, 8}, ReportChoice::Everything(), source->get(),
                                          [&found](const v1::StepReport& report) { found.push_back(report.step()); });
  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(found, ElementsAre(7, 8));
  EXPECT_LE(reads.load(), 2);
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, AJobThatCannotBeReadKeepsNoOtherFromBeingPacked) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  options_.env = disk.env.get();
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(0, 99)), IsOk());
  Settle();
  Reopen();
  disk.files->cannot_read = true;
  ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(100, 110)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "b", FullReports(0, 99)), IsOk());
  EXPECT_THAT(SettleAndWait(*store_), StatusIs(absl::StatusCode::kUnavailable, _)) << "not all is packed";
  EXPECT_GT(store_->UsageOf("b").report_bytes, 0);
  EXPECT_EQ(store_->Usage().stopped, "") << "it can be stored";
  EXPECT_THAT(AppendAndWait(*store_, "a", FullReports(111, 120)), IsOk());
  disk.files->cannot_read = false;
  Settle();
  EXPECT_THAT(ReadAll("a"), SizeIs(121));
  EXPECT_THAT(ReadAll("b"), SizeIs(100));
  store_.reset();  // before the disk
}

// It may keep so much of the journal, and no more.
TEST_F(StatisticsStoreTest, WhatCannotBeReadIsGivenUpWhereItKeepsTheJournalTooLong) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  options_.env = disk.env.get();
  options_.max_journal_bytes = 10'000;
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(0, 99)), IsOk());
  Settle();
  Reopen();
  disk.files->cannot_read = true;
  ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(100, 300)), IsOk());
  EXPECT_THAT(SettleAndWait(*store_), StatusIs(absl::StatusCode::kUnavailable, _)) << "not yet";
  EXPECT_EQ(*store_->LastStep("a", 1), 300);
  ASSERT_THAT(AppendAndWait(*store_, "b", FullReports(0, 999)), IsOk());
  static_cast<void>(SettleAndWait(*store_));
  Settle();
  disk.files->cannot_read = false;
  const std::vector<std::string> a = ReadAll("a");
  ASSERT_THAT(a, SizeIs(1 + 201));
  EXPECT_EQ(a[0], absl::StrCat("1:0-99 ", kDamagedReason));
  EXPECT_THAT(ReadAll("b"), SizeIs(1000));
  store_.reset();
  const auto database = HistoryDatabase::Open(dir_.File("history"), QuickDisk());
  ASSERT_THAT(database, IsOk());
  const KeyRange journal = RowsOf(RowKind::kJournal);
  int records = 0;
  const auto count = [&records](absl::string_view, absl::string_view) { return ++records > 0; };
  ASSERT_THAT((*database)->ForEach(journal.from, journal.to, count, [](absl::string_view, absl::string_view) {}),
              IsOk());
  EXPECT_EQ(records, 0);
}

// Who reads takes apart what waits, as fast as it comes; the thread that packs it may be slower.
TEST_F(StatisticsStoreTest, ReadersLetNoMorePileUpThanIsPacked) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  std::atomic<bool> is_slow = false;
  absl::Notification held, go_on;
  disk.files->before_read = [&] {
    if (!is_slow.exchange(false)) return;
    held.Notify();
    go_on.WaitForNotification();
  };
  options_.env = disk.env.get();
  options_.max_open_bytes = int64_t{256} << 10;
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(0, 99)), IsOk());
  Settle();
  Reopen();
  is_slow = true;
  ASSERT_THAT(AppendAndWait(*store_, "a", FullReports(100, 110)), IsOk());
  store_->Settle([](const absl::Status&) {});
  held.WaitForNotification();
  std::shared_ptr<absl::Notification> done;
  bool waits = false;
  for (int64_t i = 0; i < 300; ++i) {
    done = std::make_shared<absl::Notification>();
    store_->Append("b", MakeReports(1, 256 * i, 256 * i + 255), [done](const absl::Status& status, auto) {
      EXPECT_THAT(status, IsOk());
      done->Notify();
    });
    waits = !done->WaitForNotificationWithTimeout(absl::Seconds(2));
    if (waits) break;
    EXPECT_THAT(*store_->ReadAfter("b", 1, 256 * i - 1, 1), SizeIs(1));
  }
  EXPECT_TRUE(waits);
  go_on.Notify();
  done->WaitForNotification();
  Settle();
  store_.reset();  // before the disk
}

// Alerts fire, and jobs are deleted, while the disk is full.
TEST_F(StatisticsStoreTest, WhatIsAskedForWhileNothingCanBeStoredIsDoneWhenItCan) {
  FailingDisk disk;
  options_.env = disk.env.get();
  Reopen();
  for (const char* uid : {"alert", "deleted"}) {
    ASSERT_THAT(AppendAndWait(*store_, uid, FullReports(0, 2559)), IsOk());
  }
  Settle();
  disk.files->is_full = true;
  EXPECT_THAT(AppendAndWait(*store_, "alert", FullReports(2560, 2560)), Not(IsOk()));
  store_->Protect("alert", 1, 1000, 1100);
  absl::Notification removed;
  store_->Remove("deleted", [&removed] { removed.Notify(); });
  Wait();
  EXPECT_THAT(ReadAll("deleted"), IsEmpty());
  disk.files->is_full = false;
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(AppendAndWait(*store_, "alert", FullReports(2560, 2560)), IsOk());
  removed.WaitForNotification();
  Settle();
  options_.job_budget.max_bytes = 100'000;
  Reopen();
  EXPECT_THAT(store_->Uids(), ElementsAre("alert"));
  Settle();
  const std::vector<std::string> all = ReadAll("alert");
  EXPECT_EQ(all[0], absl::StrCat("1:0-767 ", kDroppedReason));
  EXPECT_EQ(all[1].substr(0, 6), "1:768=");
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, ABudgetOfOnesOwnAndTheAgeOfReports) {
  ASSERT_THAT(AppendAndWait(*store_, "old", FullReports(0, 999)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "free", FullReports(0, 999)), IsOk());
  Settle();
  store_->SetBudget("old", {.max_bytes = 0, .max_age = absl::Hours(1)});
  EXPECT_EQ(store_->UsageOf("old").budget.max_age, absl::Hours(1));
  clock_.Advance(absl::Hours(2));
  Settle();
  EXPECT_THAT(ReadAll("old"), ElementsAre(absl::StrCat("1:0-999 ", kDroppedReason)));
  EXPECT_EQ(store_->UsageOf("old").first_step, std::nullopt);
  EXPECT_THAT(ReadAll("free"), SizeIs(1000));
  EXPECT_EQ(store_->Usage().report_bytes, store_->UsageOf("free").report_bytes);
  EXPECT_THAT((*store_->Source("old", 1))->Kept(256), ElementsAre(StepRange{0, 999 / 256 * 256 + 255}))
      << "made before the finer ones went";
}

// What `ranges` or gaps of an answer have of each step from 0 to `last`.
void ExpectToldOrGiven(const StoredRanges& stored, int64_t last) {
  StepRanges told;
  for (const ConflatedRange& range : stored.ranges) told.push_back(range.steps);
  for (const LostSteps& lost : stored.lost) told.push_back(lost.steps);
  EXPECT_THAT(Together(std::move(told)), ElementsAre(StepRange{0, last}));
}

TEST_F(StatisticsStoreTest, WhatIsDroppedWhileASourceIsReadIsTold) {
  ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(0, 999)), IsOk());
  Settle();
  const auto source = *store_->Source("u", 1);
  store_->SetBudget("u", {.max_bytes = 1'000'000, .max_age = absl::Hours(1)});
  clock_.Advance(absl::Hours(2));
  Settle();
  EXPECT_THAT(ReadAll("u"), ElementsAre(absl::StrCat("1:0-999 ", kDroppedReason)));
  for (const int64_t points : {1000, 20, 2}) {
    const auto stored = ConflateStored({.first = 0, .last = 999}, points, source.get());
    ASSERT_THAT(stored, IsOk());
    EXPECT_EQ(stored->last_step, 999);
    ASSERT_THAT(stored->lost, Not(IsEmpty()));
    EXPECT_EQ(stored->lost[0].reason, kDroppedReason);
    ExpectToldOrGiven(*stored, 999);
  }
  // As who had asked what is kept before.
  const auto no_batch = [](absl::string_view) { ADD_FAILURE() << "it was dropped"; };
  EXPECT_THAT(source->ForEachBatch(256, no_batch), StatusIs(absl::StatusCode::kDataLoss, _));
  StepRanges gone;
  const auto row = [&gone](const StepRange& steps, absl::string_view bytes) {
    EXPECT_EQ(bytes, "");
    gone.push_back(steps);
  };
  EXPECT_THAT(source->ForEachRow(16, TierGroup::kJob, {.first = 0, .last = 511}, row), IsOk());
  EXPECT_THAT(gone, ElementsAre(StepRange{0, 511}));
}

// Of a block of which a part lies in a batch, more comes while that is read, and the next block begins.
TEST_F(StatisticsStoreTest, AReaderMissesNothingOfABlockThatGrowsMeanwhile) {
  FailingDisk disk;
  disk.files->skips_sync = true;
  std::atomic<bool> grows = false;
  disk.files->before_read = [&] {
    if (!grows.exchange(false)) return;
    EXPECT_THAT(AppendAndWait(*store_, "u", FullReports(100, 300)), IsOk());
  };
  options_.env = disk.env.get();
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "u", FullReports(0, 99)), IsOk());
  Settle();
  Reopen();
  grows = true;
  const auto read = store_->ReadAfter("u", 1, -1, SIZE_MAX);
  ASSERT_THAT(read, IsOk());
  EXPECT_FALSE(grows);
  ASSERT_THAT(*read, SizeIs(301));
  for (size_t i = 0; i < read->size(); ++i) EXPECT_EQ((*read)[i].step, static_cast<int64_t>(i));
  store_.reset();  // before the disk
}

TEST_F(StatisticsStoreTest, AReaderMissesNothingWhileBlocksBeginAndAreDropped) {
  options_.job_budget.max_bytes = 2'000;
  Reopen();
  std::atomic<bool> is_over = false;
  int64_t gaps = 0;
  std::thread reader([&] {
    while (!is_over) {
      const auto read = store_->ReadAfter("u", 1, -1, SIZE_MAX);
      ASSERT_THAT(read, IsOk());
      int64_t next = 0;
      for (const EncodedReport& entry : *read) {
        if (entry.first_step != next) ++gaps;
        next = entry.step + 1;
      }
    }
  });
  for (int64_t step = 0; step < 20'000; step += 100) {
    EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, step, step + 99)), IsOk());
    if (step % 500 != 0) continue;
    EXPECT_THAT(SettleAndWait(*store_), IsOk());
  }
  is_over = true;
  reader.join();
  EXPECT_EQ(gaps, 0);
}

// A server learns what its jobs may keep after its store is open.
TEST_F(StatisticsStoreTest, NoBudgetIsKeptBeforeThoseOfTheJobsAreTold) {
  ASSERT_THAT(AppendAndWait(*store_, "kept", FullReports(0, 2559)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "other", FullReports(0, 2559)), IsOk());
  Settle();
  options_.job_budget.max_bytes = 10'000;
  options_.knows_budgets = false;
  Reopen();
  Settle();
  EXPECT_THAT(ReadAll("other"), SizeIs(2560));
  store_->SetBudget("kept", {});
  store_->KeepBudgets();
  clock_.Advance(absl::Seconds(2));
  Settle();
  EXPECT_LE(store_->UsageOf("other").report_bytes, 10'000);
  EXPECT_THAT(ReadAll("kept"), SizeIs(2560));
}

TEST_F(StatisticsStoreTest, AllJobsShareOneBudget) {
  options_.max_bytes = 200'000;
  Reopen();
  for (int job = 0; job < 10; ++job) {
    clock_.Advance(absl::Minutes(1));
    ASSERT_THAT(AppendAndWait(*store_, absl::StrCat("job-", job), FullReports(0, 511)), IsOk());
    Settle();
  }
  EXPECT_THAT(store_->Usage().report_bytes, AllOf(Le(200'000), Ge(150'000)));
  EXPECT_THAT(ReadAll("job-0"), ElementsAre(absl::StrCat("1:0-511 ", kDroppedReason))) << "the oldest";
  EXPECT_THAT(ReadAll("job-9"), SizeIs(512));
}

}  // namespace
}  // namespace gradwatch::server
