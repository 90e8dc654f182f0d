#include "server/store/statistics_store.h"

#include <SQLiteCpp/Database.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "absl/synchronization/blocking_counter.h"
#include "core/base/error.h"
#include "tests/server/store/faulty_vfs.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StatisticsStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = StatisticsStore::Open(dir_.File("statistics"));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  // "attempt:step=loss", everything of the job from the start, read in parts of `max_bytes`.
  std::vector<std::string> ReadAll(const std::string& uid, size_t max_bytes = 1 << 20) {
    std::vector<std::string> all;
    int32_t attempt = 0;
    int64_t step = -1;
    for (;;) {
      const auto reports = store_->ReadAfter(uid, attempt, step, max_bytes);
      EXPECT_THAT(reports, IsOk());
      if (!reports.ok() || reports->empty()) return all;
      for (const EncodedReport& report : *reports) {
        const auto decoded = DecodeReport(report.bytes);
        EXPECT_THAT(decoded, IsOk());
        EXPECT_EQ(decoded->step(), report.step);
        EXPECT_EQ(decoded->attempt(), report.attempt);
        all.push_back(absl::StrCat(report.attempt, ":", report.step, "=", decoded->loss()));
      }
      attempt = reports->back().attempt;
      step = reports->back().step;
    }
  }

  std::string PathOf(const std::string& uid) { return absl::StrCat(dir_.File("statistics"), "/", uid, ".db"); }

  const TempDir dir_;
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
  const size_t one = MakeReport(1, 1).bytes.size();
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
      model[{attempt, step}] = reports.back().bytes;
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
    EXPECT_EQ(report.bytes, expected->second);
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
                     EXPECT_EQ(reports[0].bytes, MakeReport(1, i).bytes);
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
  absl::Notification removed;
  store_->Remove("u");
  store_->Remove("never-there");
  store_->Barrier([&] { removed.Notify(); });
  removed.WaitForNotification();
  EXPECT_THAT(ReadAll("u"), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(PathOf("u")));
  EXPECT_FALSE(std::filesystem::exists(PathOf("u") + "-wal"));
  EXPECT_EQ(ReadAll("v").size(), 10u);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 3, 3)), IsOk());
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:3=1"));
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
    store_->Remove(uid);
  }
}

// Each column of a batch in turn.
TEST_F(StatisticsStoreTest, FindsDamagedBatches) {
  const struct {
    const char* damage;
    const char* message;
  } kCases[] = {
      {"UPDATE batches SET reports = zeroblob(length(reports)) WHERE last_step = 9", "steps 5 to 9"},
      {"UPDATE batches SET reports = substr(reports, 2) WHERE last_step = 9", "steps 5 to 9"},
      {"UPDATE batches SET crc = crc + 1 WHERE last_step = 9", "steps 5 to 9"},
      {"UPDATE batches SET first_step = 6 WHERE last_step = 9", "steps 6 to 9"},
      {"UPDATE batches SET last_step = 10 WHERE last_step = 9", "steps 5 to 10"},
      {"UPDATE batches SET attempt = 2 WHERE last_step = 9", "attempt 2"},
  };
  int number = 0;
  for (const auto& test_case : kCases) {
    const std::string uid = absl::StrCat("u", number++);
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 0, 4)), IsOk());
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 5, 9)), IsOk());
    SQLite::Database(PathOf(uid), SQLite::OPEN_READWRITE).exec(test_case.damage);
    const auto reports = store_->ReadAfter(uid, 0, -1, 1 << 20);
    EXPECT_THAT(reports, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(test_case.message)));
    EXPECT_THAT(reports, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(uid)));
    EXPECT_EQ(core::GetReason(reports.status()), "LOG_CORRUPT");
    EXPECT_THAT(store_->ReadAfter(uid, 0, -1, 1), IsOk());  // what lies before is still there
  }
}

TEST(StatisticsStoreFaultTest, TellsWhatCouldNotBeStoredAndGoesOn) {
  const TempDir dir;
  FaultyVfs vfs;
  auto store = StatisticsStore::Open(dir.path());
  ASSERT_THAT(store, IsOk());
  ASSERT_THAT(AppendAndWait(**store, "u", MakeReports(1, 0, 0)), IsOk());
  FaultyVfs::full = true;
  EXPECT_THAT(AppendAndWait(**store, "u", MakeReports(1, 1, 1)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("job u"), HasSubstr("the server's disk is full"))));
  FaultyVfs::full = false;
  EXPECT_THAT(AppendAndWait(**store, "u", MakeReports(1, 1, 1)), IsOk());
  EXPECT_EQ((*store)->ReadAfter("u", 0, -1, 1000)->size(), 2u);
}

TEST(StatisticsStoreFaultTest, ADamagedFileIsToldAndLeavesOthersAlone) {
  const TempDir dir;
  dir.Write("u.db", std::string(5000, 'x'));
  auto store = StatisticsStore::Open(dir.path());
  ASSERT_THAT(store, IsOk());
  EXPECT_THAT(AppendAndWait(**store, "u", MakeReports(1, 0, 0)), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT((*store)->ReadAfter("u", 0, -1, 10), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT(AppendAndWait(**store, "v", MakeReports(1, 0, 0)), IsOk());
  EXPECT_THAT(StatisticsStore::Open(dir.File("u.db")), StatusIs(absl::StatusCode::kUnavailable, _));
}

}  // namespace
}  // namespace gradwatch::server
