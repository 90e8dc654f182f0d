#include "server/store/statistics_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <random>

#include "absl/strings/match.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "tests/server/store/faulty_vfs.h"
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
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

class StatisticsStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = StatisticsStore::Open(dir_.File("statistics"), &clock_);
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

  std::string PathOf(const std::string& uid) { return absl::StrCat(dir_.File("statistics"), "/", uid, ".db"); }

  // The names of all files of a job.
  std::vector<std::string> FilesOf(const std::string& uid) const {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(dir_.File("statistics"))) {
      const std::string name = file.path().filename().string();
      if (absl::StartsWith(name, uid + ".")) names.push_back(name);
    }
    return names;
  }

  // After all that was queued.
  void Wait() {
    absl::Notification passed;
    store_->Barrier([&] { passed.Notify(); });
    passed.WaitForNotification();
  }

  const TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<StatisticsStore> store_;
};

TEST_F(StatisticsStoreTest, KeepsReportsByAttemptAndStep) {
  EXPECT_THAT(ReadAll("u"), IsEmpty());
  EXPECT_EQ(*store_->LastStep("u", 1), -1);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 2)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(2, 1, 1, 5)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 7, 7)), IsOk());
  Reopen();
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:0=1", "1:1=1", "1:2=1", "2:1=5"));
  EXPECT_THAT(ReadAll("v"), ElementsAre("1:7=1"));
  EXPECT_EQ(*store_->LastStep("u", 1), 2);
  EXPECT_EQ(*store_->LastStep("u", 2), 1);
  EXPECT_EQ(*store_->LastStep("u", 3), -1);
}

TEST_F(StatisticsStoreTest, ReadsInPartsOfAboutTheSizeWanted) {
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 99)), IsOk());
  const size_t one = MakeReport(1, 1).bytes->size();
  EXPECT_EQ(store_->ReadAfter("u", 1, 9, 10 * one)->size(), 10u);
  EXPECT_EQ(store_->ReadAfter("u", 1, 9, 0)->size(), 1u);
  EXPECT_EQ(store_->ReadAfter("u", 1, 9, 0)->front().step, 10);
  EXPECT_EQ(ReadAll("u", 7 * one).size(), 100u);
}

TEST_F(StatisticsStoreTest, AStepThatIsStoredIsReplaced) {
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 4)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 8, 9)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 6, 2)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 1, 3)), IsOk());
  EXPECT_THAT(ReadAll("u"),
              ElementsAre("1:0=1", "1:1=3", "1:2=1", "1:3=2", "1:4=2", "1:5=2", "1:6=2", "1:8=1", "1:9=1"));
}

TEST_F(StatisticsStoreTest, KeepsLostRangesAmongTheReports) {
  std::vector<EncodedReport> batch = MakeReports(1, 0, 1);
  batch.push_back(EncodeLost(1, 2, 5, "away"));
  batch.push_back(MakeReport(1, 6));
  batch.push_back(EncodeLost(1, 7, 9, "away"));
  ASSERT_THAT(AppendAndWait(*store_, "u", std::move(batch)), IsOk());
  EXPECT_EQ(*store_->LastStep("u", 1), 9);
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:0=1", "1:1=1", "1:2-5 away", "1:6=1", "1:7-9 away"));
  EXPECT_THAT(ReadAll("u", 1), ElementsAre("1:0=1", "1:1=1", "1:2-5 away", "1:6=1", "1:7-9 away"));
  const auto inside = store_->ReadAfter("u", 1, 3, 1);
  ASSERT_THAT(inside, IsOk());
  EXPECT_EQ(Describe(inside->at(0)), "4-5 away");
}

TEST_F(StatisticsStoreTest, LostRangesThatAreSentAgainAreNotDoubled) {
  const EncodedReport lost = EncodeLost(1, 2, 5, "away");
  ASSERT_THAT(AppendAndWait(*store_, "u", {MakeReport(1, 0), MakeReport(1, 1), lost}), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", {lost, MakeReport(1, 6)}), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "u", {EncodeLost(1, 4, 7, "again")}), IsOk());
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:0=1", "1:1=1", "1:2-3 away", "1:4-5 again", "1:6=1", "1:7-7 again"));
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 4, 2)), IsOk());
  EXPECT_THAT(ReadAll("u"),
              ElementsAre("1:0=1", "1:1=1", "1:2-2 away", "1:3=2", "1:4=2", "1:5-5 again", "1:6=1", "1:7-7 again"));
}

// Against a map as the model: random attempts that go back, sizes around the limit of a batch.
TEST_F(StatisticsStoreTest, HoldsWhatAModelHolds) {
  std::mt19937 random(7);
  const auto uniform = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  std::map<std::pair<int32_t, int64_t>, std::string> model;
  for (int round = 0; round < 150; ++round) {
    const int32_t attempt = uniform(1, 3);
    int64_t step = uniform(0, 200);
    std::vector<EncodedReport> reports;
    for (int i = uniform(1, 20); i > 0; --i) {
      v1::StepReport report;
      report.set_attempt(attempt);
      report.set_step(step);
      report.set_loss(round);
      for (int k = uniform(0, 3) == 0 ? 4000 : 1; k > 0; --k) report.add_tensors()->set_l2_norm(k);
      reports.push_back(EncodeReport(report));
      model[{attempt, step}] = *reports.back().bytes;
      step += uniform(1, 3);
    }
    if (round % 10 == 9) {
      ASSERT_THAT(AppendAndWait(*store_, "u", std::move(reports)), IsOk());
    } else {
      store_->Append("u", std::move(reports), [](const absl::Status&, std::vector<EncodedReport>) {});
    }
    if (round % 50 == 49) Reopen();
  }
  auto expected = model.begin();
  const auto all = store_->ReadAfter("u", 0, -1, SIZE_MAX);
  ASSERT_THAT(all, IsOk());
  ASSERT_EQ(all->size(), model.size());
  for (const EncodedReport& report : *all) {
    EXPECT_EQ(std::make_pair(report.attempt, report.step), expected->first);
    EXPECT_EQ(*report.bytes, expected->second);
    ++expected;
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

TEST_F(StatisticsStoreTest, RemovesAJobWithItsFiles) {
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
  ASSERT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 0, 9)), IsOk());
  EXPECT_EQ(ReadAll("u").size(), 10u);  // leaves an open reader behind
  store_->Remove("u", [] {});
  store_->Remove("never-there", [] {});
  Wait();
  EXPECT_THAT(ReadAll("u"), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(PathOf("u")));
  EXPECT_FALSE(std::filesystem::exists(PathOf("u") + "-wal"));
  EXPECT_EQ(ReadAll("v").size(), 10u);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 3)), IsOk());
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:3=1"));
}

// Keeps tasks until it is told to run them.
class HeldExecutor final : public Executor {
 public:
  void Run(absl::AnyInvocable<void()> task) override {
    absl::MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  void RunAll() {
    absl::MutexLock lock(&mutex_);
    for (auto& task : tasks_) task();
    tasks_.clear();
  }

 private:
  absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
};

// Large files took the statistics of all jobs their time.
TEST_F(StatisticsStoreTest, FilesAreRemovedElsewhere) {
  HeldExecutor executor;
  store_.reset();
  store_ = *StatisticsStore::Open(dir_.File("statistics"), &clock_, &executor);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
  store_->SetAside("u");
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
  store_->Remove("u", [] {});
  Wait();
  EXPECT_THAT(ReadAll("u"), IsEmpty()) << "it is gone at once";
  EXPECT_THAT(FilesOf("u"), Each(EndsWith(".gone")));
  EXPECT_THAT(FilesOf("u"), Not(IsEmpty())) << "the executor removes it";
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 3)), IsOk());
  executor.RunAll();
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:3=1"));
  EXPECT_THAT(FilesOf("u"), Each(Not(EndsWith(".gone"))));
  store_.reset();  // before the executor
}

TEST_F(StatisticsStoreTest, RemovesAllFilesOfAJobAndNothingElse) {
  const std::string uid = "00000000-0000-4000-8000-000000000001";
  // A removal that was cut short has renamed some.
  for (const char* end : {".db", ".db-wal", ".db-shm", ".db.damaged", ".db.damaged-wal", ".db.damaged-shm", ".db.gone",
                          ".db-wal.gone", ".db.damaged.gone", ".db.damaged-shm.gone"}) {
    dir_.Write("statistics/" + uid + end, "x");
  }
  const std::string others[] = {"notes.txt", uid, uid + ".db.bak", uid + ".DB", uid + "x.db", uid.substr(1) + ".db"};
  for (const std::string& name : others) dir_.Write("statistics/" + name, "x");
  absl::Notification done;
  store_->Remove(uid, [&done] { done.Notify(); });
  done.WaitForNotification();
  std::vector<std::string> left;
  for (const auto& file : std::filesystem::directory_iterator(dir_.File("statistics"))) {
    left.push_back(file.path().filename().string());
  }
  EXPECT_THAT(left, UnorderedElementsAreArray(others));
}

TEST_F(StatisticsStoreTest, ServesMoreJobsThanItKeepsOpen) {
  for (int round = 0; round < 2; ++round) {
    for (int job = 0; job < 70; ++job) {
      ASSERT_THAT(AppendAndWait(*store_, absl::StrCat("job-", job), MakeReports(1, round, round)), IsOk());
    }
  }
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++files;
  EXPECT_LT(files, 32 * 3 + 30u);
  for (int job = 0; job < 70; ++job) {
    EXPECT_THAT(ReadAll(absl::StrCat("job-", job)), ElementsAre("1:0=1", "1:1=1"));
  }
}

TEST_F(StatisticsStoreTest, RefusesUidsThatAreNoFileNames) {
  for (const char* uid : {"", "../u", "a/b", ".", "a b", "\xff"}) {
    EXPECT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 0, 0)), StatusIs(absl::StatusCode::kInvalidArgument, _));
    EXPECT_THAT(store_->ReadAfter(uid, 0, -1, 10), StatusIs(absl::StatusCode::kInvalidArgument, _));
    store_->Remove(uid, [] {});
  }
}

TEST_F(StatisticsStoreTest, AReadOfAJobThatIsRemovedMeanwhileLeavesNothing) {
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
  EXPECT_THAT(ReadAll("u"), SizeIs(10));  // by a reader that is kept, with its memory beside the database
  std::filesystem::remove(PathOf("u"));
  ASSERT_TRUE(std::filesystem::exists(PathOf("u") + "-shm"));
  EXPECT_THAT(store_->LastStep("u", 1), IsOk());
  Wait();
  EXPECT_FALSE(std::filesystem::exists(PathOf("u") + "-shm"));
  EXPECT_FALSE(std::filesystem::exists(PathOf("u") + "-wal"));
}

TEST_F(StatisticsStoreTest, FilesAreForTheirUserOnly) {
  const mode_t umask_before = umask(0);
  std::filesystem::remove_all(dir_.File("statistics"));
  Reopen();
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 9)), IsOk());
  ReadAll("u");
  umask(umask_before);
  EXPECT_EQ(ModeOf(dir_.File("statistics")), 0700u);
  for (const char* suffix : {"", "-wal", "-shm"}) EXPECT_EQ(ModeOf(PathOf("u") + suffix), 0600u) << suffix;
  Reopen();
  chmod(dir_.File("statistics").c_str(), 0755);
  chmod(PathOf("u").c_str(), 0644);
  Reopen();
  EXPECT_EQ(ModeOf(dir_.File("statistics")), 0700u);
  ReadAll("u");
  EXPECT_EQ(ModeOf(PathOf("u")), 0600u);
}

TEST_F(StatisticsStoreTest, TellsWhatCouldNotBeStoredAndGoesOn) {
  FaultyVfs vfs;
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  FaultyVfs::full = true;
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 1)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("job u"), HasSubstr("the server's disk is full"))));
  FaultyVfs::full = false;
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 1)), StatusIs(absl::StatusCode::kResourceExhausted, _))
      << "what failed is not tried again at once";
  EXPECT_THAT(AppendAndWait(*store_, "v", MakeReports(1, 1, 1)), IsOk());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 1)), IsOk());
  EXPECT_EQ(store_->ReadAfter("u", 0, -1, 1000)->size(), 2u);
  store_.reset();  // before the file system
}

TEST_F(StatisticsStoreTest, NothingIsStoredBehindWhatIsMissing) {
  FaultyVfs vfs;
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  FaultyVfs::full = true;
  absl::Notification over;
  absl::Status behind;
  store_->Append("u", MakeReports(1, 1, 1), [&](const absl::Status& status, auto) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
    // There is room again, and the failure is forgotten, when what was sent meanwhile has its turn.
    FaultyVfs::full = false;
    clock_.Advance(absl::Seconds(1));
    store_->Append("u", MakeReports(1, 2, 2), [&](const absl::Status& status, auto) {
      behind = status;
      over.Notify();
    });
  });
  over.WaitForNotification();
  EXPECT_THAT(behind, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(*store_->LastStep("u", 1), 0);
  absl::Notification settled;  // what is queued until then fails too
  store_->Barrier([&settled] { settled.Notify(); });
  settled.WaitForNotification();
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 1, 2)), IsOk());
  EXPECT_EQ(*store_->LastStep("u", 1), 2);
  store_.reset();  // before the file system
}

// The failure and the new beginning are done at one time.
TEST_F(StatisticsStoreTest, WhatComesBehindANewBeginningIsStored) {
  FaultyVfs vfs;
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 0)), IsOk());
  FaultyVfs::full = true;
  absl::Notification hold, over;
  store_->Barrier([&hold] { hold.WaitForNotification(); });
  absl::Status behind;
  store_->Append("u", MakeReports(1, 1, 1), [](const absl::Status& status, auto) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
    FaultyVfs::full = false;
  });
  store_->SetAside("u");
  store_->Append("u", MakeReports(1, 5, 5), [&](const absl::Status& status, auto) {
    behind = status;
    over.Notify();
  });
  hold.Notify();
  over.WaitForNotification();
  EXPECT_THAT(behind, IsOk());
  store_.reset();  // before the file system
}

}  // namespace
}  // namespace gradwatch::server
