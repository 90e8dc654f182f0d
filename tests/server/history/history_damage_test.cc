// What becomes of statistics whose files are damaged, cut, emptied, gone, or no files at all.
#include <SQLiteCpp/Database.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "server/history/statistics_store.h"
#include "server/store/statistics_database.h"
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
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

class StatisticsDamageTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = StatisticsStore::Open(dir_.path(), &clock_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  // Writes three batches of `uid`, steps 0 to 4, 5 to 9 and 10 to 14, and closes the database.
  void Fill(const std::string& uid) {
    for (int64_t first : {0, 5, 10}) ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, first, first + 4)), IsOk());
    Reopen();
  }

  std::string PathOf(const std::string& uid) const { return dir_.File(absl::StrCat(uid, ".db")); }

  // Everything in parts of `max_bytes`; the last entry is the error, if one ends it.
  std::vector<std::string> ReadAll(const std::string& uid, size_t max_bytes) {
    std::vector<std::string> all;
    for (int32_t attempt = 0, step = -1;;) {
      const auto entries = store_->ReadAfter(uid, attempt, step, max_bytes);
      if (!entries.ok()) all.push_back(absl::StatusCodeToString(entries.status().code()));
      if (!entries.ok() || entries->empty()) return all;
      for (const EncodedReport& entry : *entries) all.push_back(Describe(entry));
      attempt = entries->back().attempt;
      step = static_cast<int32_t>(entries->back().step);
    }
  }

  const TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<StatisticsStore> store_;
};

std::vector<std::string> Steps(int first, int last) {
  std::vector<std::string> steps;
  for (int step = first; step <= last; ++step) steps.push_back(absl::StrCat(step, "=1"));
  return steps;
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Each column of a batch in turn, and batches that are gone.
TEST_F(StatisticsDamageTest, ADamagedBatchIsToldAndReadingGoesOn) {
  const std::vector<std::string> lost = {"5-9 what was stored is damaged"};
  const struct {
    const char* damage;
    std::vector<std::string> expected;
  } kCases[] = {
      {"UPDATE batches SET reports = zeroblob(length(reports)) WHERE last_step = 9",
       Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET reports = substr(reports, 2) WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET reports = x'' WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET crc = crc + 1 WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET key_crc = key_crc + 1 WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET first_step = 6 WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET first_step = -3 WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET previous_step = 7 WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET last_step = 12 WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"UPDATE batches SET last_step = 1000000 WHERE last_step = 9",
       Steps(0, 4) + lost + Steps(10, 14) + std::vector<std::string>{"DATA_LOSS"}},
      {"UPDATE batches SET attempt = 2 WHERE last_step = 9",
       Steps(0, 4) + lost + Steps(10, 14) + std::vector<std::string>{"DATA_LOSS"}},
      {"DELETE FROM batches WHERE last_step = 9", Steps(0, 4) + lost + Steps(10, 14)},
      {"DELETE FROM batches WHERE last_step = 4",
       std::vector<std::string>{"0-4 what was stored is damaged"} + Steps(5, 14)},
      {"DELETE FROM batches WHERE last_step < 10",
       std::vector<std::string>{"0-9 what was stored is damaged"} + Steps(10, 14)},
      {"UPDATE batches SET reports = x'00' WHERE last_step = 14",
       Steps(0, 9) + std::vector<std::string>{"10-14 what was stored is damaged"}},
      {"UPDATE batches SET key_crc = 0 WHERE last_step = 14", Steps(0, 9) + std::vector<std::string>{"DATA_LOSS"}},
  };
  int number = 0;
  for (const auto& test_case : kCases) {
    SCOPED_TRACE(test_case.damage);
    const std::string uid = absl::StrCat("u", number++);
    Fill(uid);
    SQLite::Database(PathOf(uid), SQLite::OPEN_READWRITE).exec(test_case.damage);
    for (const size_t max_bytes : {1, 30, 1 << 20}) {
      EXPECT_THAT(ReadAll(uid, max_bytes), ElementsAreArray(test_case.expected)) << max_bytes;
    }
  }
}

TEST_F(StatisticsDamageTest, ADamagedBatchIsToldFromTheStepThatIsAskedFor) {
  Fill("u");
  SQLite::Database(PathOf("u"), SQLite::OPEN_READWRITE).exec("UPDATE batches SET crc = 0 WHERE last_step = 9");
  const auto entries = store_->ReadAfter("u", 1, 6, 1);
  ASSERT_THAT(entries, IsOk());
  EXPECT_EQ(Describe(entries->at(0)), "7-9 what was stored is damaged");
  EXPECT_EQ(*store_->LastStep("u", 1), 14);
}

// The good batches stay, whatever stands behind them; the next writer begins behind the last of them.
TEST_F(StatisticsDamageTest, ADamagedEndIsTakenForOneThatHasVanished) {
  const struct {
    const char* damage;
    int64_t last_good;
  } kCases[] = {
      {"UPDATE batches SET key_crc = key_crc + 1 WHERE last_step = 14", 9},
      {"UPDATE batches SET key_crc = key_crc + 1 WHERE last_step > 4", 4},
      {"UPDATE batches SET key_crc = key_crc + 1", -1},
      {"UPDATE batches SET last_step = 1000000 WHERE last_step = 14", 9},
      {"UPDATE batches SET last_step = 12 WHERE last_step = 14", 9},
      {"UPDATE batches SET last_step = 3 WHERE last_step = 14", 9},
      {"UPDATE batches SET last_step = -7 WHERE last_step = 14", 9},
      {"UPDATE batches SET first_step = 11 WHERE last_step = 14", 9},
      {"UPDATE batches SET previous_step = 13 WHERE last_step = 14", 9},
  };
  int number = 0;
  for (const auto& test_case : kCases) {
    SCOPED_TRACE(test_case.damage);
    const std::string uid = absl::StrCat("u", number++);
    Fill(uid);
    SQLite::Database(PathOf(uid), SQLite::OPEN_READWRITE).exec(test_case.damage);
    const int64_t last = test_case.last_good;
    EXPECT_EQ(store_->LastStep(uid, 1).value_or(-2), last);
    std::vector<EncodedReport> next = {EncodeLost(1, last + 1, 14, "gone")};
    next.push_back(MakeReport(1, 15));
    ASSERT_THAT(AppendAndWait(*store_, uid, next), IsOk());
    ASSERT_THAT(AppendAndWait(*store_, uid, MakeReports(1, 16, 17)), IsOk());
    EXPECT_EQ(store_->LastStep(uid, 1).value_or(-2), 17);
    const std::vector<std::string> lost = {absl::StrCat(last + 1, "-14 gone")};
    EXPECT_THAT(ReadAll(uid, 1 << 20), ElementsAreArray(Steps(0, static_cast<int>(last)) + lost + Steps(15, 17)));
  }
}

TEST_F(StatisticsDamageTest, ABatchOfNoAttemptDoesNotKeepAnAttemptFromBeginning) {
  Fill("u");
  SQLite::Database(PathOf("u"), SQLite::OPEN_READWRITE).exec("UPDATE batches SET attempt = 2 WHERE last_step = 9");
  EXPECT_EQ(store_->LastStep("u", 2).value_or(-2), -1);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(2, 0, 1)), IsOk());
  EXPECT_EQ(store_->LastStep("u", 2).value_or(-2), 1);
  EXPECT_EQ(ReadAll("u", 1 << 20).size(), 5u + 1u + 5u + 2u) << "with 5 to 9 as lost";
}

// The steps before what is stored are told too, where a batch whose key is damaged may have held them.
TEST_F(StatisticsDamageTest, WhatIsStoredOverADamagedKeyHidesNothing) {
  Fill("u");
  SQLite::Database(PathOf("u"), SQLite::OPEN_READWRITE).exec("UPDATE batches SET key_crc = 0 WHERE last_step = 9");
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 7, 7)), IsOk());
  EXPECT_THAT(ReadAll("u", 1 << 20),
              ElementsAreArray(Steps(0, 4) + std::vector<std::string>{"5-6 what was stored is damaged"} + Steps(7, 7) +
                               std::vector<std::string>{"8-9 what was stored is damaged"} + Steps(10, 14)));
}

TEST_F(StatisticsDamageTest, WhatIsStoredOverADamagedBatchMendsIt) {
  Fill("u");
  SQLite::Database(PathOf("u"), SQLite::OPEN_READWRITE).exec("UPDATE batches SET crc = 0 WHERE last_step = 9");
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 6, 7)), IsOk());
  EXPECT_THAT(ReadAll("u", 1 << 20),
              ElementsAreArray(Steps(0, 4) + std::vector<std::string>{"5-5 what was stored is damaged"} + Steps(6, 7) +
                               std::vector<std::string>{"8-9 what was stored is damaged"} + Steps(10, 14)));
  SQLite::Database(PathOf("u"), SQLite::OPEN_READWRITE).exec("UPDATE batches SET key_crc = 0 WHERE last_step = 14");
  EXPECT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 15, 15)), StatusIs(absl::StatusCode::kDataLoss, _))
      << "nothing is put behind a place that is not known";
}

// What somebody, or a bad disk, can do to a file.
struct Damage {
  const char* name;
  std::function<void(const std::string& path)> apply;
  bool told;  // as DATA_LOSS; else there is nothing, or not all
};

const std::vector<Damage>& AllDamages() {
  static const auto* const damages = new std::vector<Damage>{
      {"garbage", [](const std::string& path) { std::ofstream(path) << std::string(9000, 'x'); }, true},
      {"header",
       [](const std::string& path) {
         std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << std::string(100, '\x5a');
       },
       true},
      {"cut", [](const std::string& path) { EXPECT_EQ(truncate(path.c_str(), 5000), 0); }, true},
      {"emptied", [](const std::string& path) { EXPECT_EQ(truncate(path.c_str(), 0), 0); }, false},
      {"missing", [](const std::string& path) { std::filesystem::remove(path); }, false},
      {"folder",
       [](const std::string& path) {
         std::filesystem::remove(path);
         std::filesystem::create_directories(path + "/inside");
       },
       true},
      {"link to nowhere",
       [](const std::string& path) {
         std::filesystem::remove(path);
         std::filesystem::create_symlink("/nonexistent/x", path);
       },
       true},
      {"log is a folder", [](const std::string& path) { std::filesystem::create_directory(path + "-wal"); }, true},
      {"of another program",
       [](const std::string& path) {
         SQLite::Database(path, SQLite::OPEN_READWRITE).exec("PRAGMA application_id = 1");
       },
       true},
      {"without its table",
       [](const std::string& path) { SQLite::Database(path, SQLite::OPEN_READWRITE).exec("DROP TABLE batches"); },
       true},
      {"of an older layout",
       [](const std::string& path) { SQLite::Database(path, SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 1"); },
       true},
  };
  return *damages;
}

TEST_F(StatisticsDamageTest, IsTheTroubleOfItsJobAlone) {
  for (const Damage& damage : AllDamages()) {
    SCOPED_TRACE(damage.name);
    const std::string uid = absl::StrCat("u", &damage - AllDamages().data());
    Fill(uid);
    store_.reset();
    damage.apply(PathOf(uid));
    Reopen();  // is not kept from starting
    const auto entries = store_->ReadAfter(uid, 0, -1, 1 << 20);
    const auto last = store_->LastStep(uid, 1);
    if (damage.told) {
      EXPECT_THAT(entries, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(uid)));
      EXPECT_THAT(last, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(uid)));
      EXPECT_NE(core::GetReason(last.status()), "");
    } else {
      ASSERT_THAT(entries, IsOk());
      EXPECT_THAT(*entries, IsEmpty());
      EXPECT_EQ(last.value_or(0), -1);
    }
    // In one round with another job.
    absl::Notification hold;
    store_->Barrier([&] { hold.WaitForNotification(); });
    absl::Status appended;
    store_->Append(uid, MakeReports(1, 15, 15), [&](const absl::Status& status, auto) { appended = status; });
    absl::Status of_other;
    absl::Notification done;
    store_->Append("other", MakeReports(1, 0, 0), [&](const absl::Status& status, auto) { of_other = status; });
    store_->Barrier([&] { done.Notify(); });
    hold.Notify();
    done.WaitForNotification();
    EXPECT_THAT(of_other, IsOk());
    EXPECT_EQ(appended.code(), damage.told ? absl::StatusCode::kDataLoss : absl::StatusCode::kOk);
  }
}

TEST_F(StatisticsDamageTest, WhatIsSetAsideIsKeptAndANewDatabaseBegins) {
  for (const Damage& damage : AllDamages()) {
    SCOPED_TRACE(damage.name);
    Fill("u");
    damage.apply(PathOf("u"));
    EXPECT_EQ(AppendAndWait(*store_, "u", MakeReports(1, 15, 15)).ok(), !damage.told);
    store_->SetAside("u");
    ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 20, 21)), IsOk()) << "without waiting";
    EXPECT_THAT(ReadAll("u", 1 << 20), ElementsAre("20=1", "21=1"));
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::symlink_status(PathOf("u") + ".damaged")));
    store_->Remove("u", [] {});
    Reopen();
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
  }
}

TEST_F(StatisticsDamageTest, AReadingConnectionDoesNotOutliveItsDatabase) {
  Fill("u");
  EXPECT_EQ(ReadAll("u", 1 << 20).size(), 15u);  // leaves an open reader behind
  store_->SetAside("u");
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 20, 20)), IsOk());
  EXPECT_THAT(ReadAll("u", 1 << 20), ElementsAre("20=1"));
}

TEST_F(StatisticsDamageTest, WhatIsOutOfReachForAMomentIsNotLost) {
  Fill("u");
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {3, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto entries = store_->ReadAfter("u", 0, -1, 1 << 20);
  const absl::Status appended = AppendAndWait(*store_, "u", MakeReports(1, 15, 15));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(entries, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("job u")));
  EXPECT_THAT(appended, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("job u")));
  EXPECT_EQ(ReadAll("u", 1 << 20).size(), 15u);
}

// A database of a few pages and kinds of rows, byte by byte.
class StatisticsFuzzTest : public ::testing::Test {
 protected:
  static constexpr int64_t kLast = 239;

  void SetUp() override {
    auto writer = StatisticsWriter::Open(path_);
    ASSERT_THAT(writer, IsOk());
    std::mt19937 random(1);
    for (int64_t step = 0; step <= kLast;) {
      std::vector<EncodedReport> batch;
      for (int i = 0; i < 1 + static_cast<int>(random() % 12) && step <= kLast; ++i) {
        if (random() % 20 == 0) {
          batch.push_back(EncodeLost(1, step, std::min(step + 2, kLast), "away"));
        } else {
          batch.push_back(Report(step, random() % 30 == 0));
        }
        step = batch.back().step + 1;
        expected_[batch.back().first_step] = *batch.back().bytes;
      }
      ASSERT_THAT((*writer)->Write({&batch}), IsOk());
    }
    writer->reset();
    good_ = ReadFile(path_);
    ASSERT_GT(good_.size(), 8u * 4096);
  }

  static EncodedReport Report(int64_t step, bool large) {
    v1::StepReport report;
    report.set_attempt(1);
    report.set_step(step);
    report.set_loss(static_cast<double>(step));
    for (int i = 0; i < (large ? 900 : 3); ++i) report.add_tensors()->set_l2_norm(static_cast<float>(i));
    return EncodeReport(report);
  }

  // Whether all steps up to where reading ends are told, truly or as lost; `whole` says whether nothing is lost.
  void ReadBack(size_t max_bytes, bool* whole) {
    *whole = false;
    const auto reader = StatisticsReader::Open(path_);
    if (!reader.ok()) return;
    *whole = true;
    for (int64_t step = -1; step < kLast;) {
      const auto entries = (*reader)->ReadAfter(1, step, max_bytes);
      *whole = *whole && entries.ok() && !entries->empty();
      if (!entries.ok() || entries->empty()) return;  // the caller knows that there were more
      for (const EncodedReport& entry : *entries) {
        ASSERT_EQ(entry.attempt, 1);
        ASSERT_EQ(entry.first_step, step + 1);
        ASSERT_GE(entry.step, entry.first_step);
        ASSERT_LE(entry.step, kLast);
        const auto written = expected_.find(entry.first_step);
        const bool same = written != expected_.end() && written->second == *entry.bytes;
        *whole = *whole && same;
        ASSERT_TRUE(same ||
                    Describe(entry) == absl::StrCat(entry.first_step, "-", entry.step, " what was stored is damaged"));
        step = entry.step;
      }
    }
  }

  const TempDir dir_;
  const std::string path_ = dir_.File("u.db");
  std::string good_;
  std::map<int64_t, std::string> expected_;  // by first step
};

TEST_F(StatisticsFuzzTest, NothingWrongIsTold) {
  std::mt19937 random(2);
  int harmed = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string bad = good_;
    if (round % 40 == 0) {
      bad.resize(random() % good_.size());
    } else {
      // Half of them in the first bytes of a page, where its structure is.
      size_t at = random() % good_.size();
      if (round % 2 == 0) at = at / 4096 * 4096 + random() % 64;
      bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    }
    dir_.Write("u.db", bad);
    bool whole = false;
    ASSERT_NO_FATAL_FAILURE(ReadBack(round % 10 == 0 ? 1 : 1 << 20, &whole)) << round;
    if (!whole) ++harmed;
  }
  EXPECT_GT(harmed, 250);
}

TEST_F(StatisticsFuzzTest, WritingToADamagedFileNeverMakesItLie) {
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    std::string bad = good_;
    for (int i = 0; i < 3; ++i) {
      const size_t at = random() % good_.size();
      bad[at] = static_cast<char>(random());
    }
    dir_.Write("u.db", bad);
    auto writer = StatisticsWriter::Open(path_);
    if (!writer.ok()) continue;
    const int64_t first = random() % 2 == 0 ? kLast + 1 : static_cast<int64_t>(random() % kLast);
    std::vector<EncodedReport> batch;
    for (int64_t step = first; step < first + 3; ++step) batch.push_back(Report(step, false));
    if (!(*writer)->Write({&batch}).ok()) continue;
    const auto reader = StatisticsReader::Open(path_);
    ASSERT_THAT(reader, IsOk());
    const auto entries = (*reader)->ReadAfter(1, first - 1, 1 << 20);
    if (!entries.ok()) continue;
    ASSERT_FALSE(entries->empty());
    const EncodedReport& entry = entries->front();
    ASSERT_EQ(entry.first_step, first);
    ASSERT_TRUE(entry.lost || *entry.bytes == *batch.front().bytes);
  }
}

}  // namespace
}  // namespace gradwatch::server
