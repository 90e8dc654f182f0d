#include "server/history/legacy_statistics.h"

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/history/failing_disk.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

namespace fs = std::filesystem;

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// As the versions before 0.2 stored them.
class LegacyWriter {
 public:
  explicit LegacyWriter(const std::string& path) : database_(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE) {
    database_.exec("PRAGMA journal_mode = WAL; PRAGMA application_id = 1735873329; PRAGMA user_version = 2;");
    database_.exec(
        "CREATE TABLE batches (attempt INTEGER NOT NULL, last_step INTEGER NOT NULL, first_step INTEGER NOT NULL, "
        "previous_step INTEGER NOT NULL, key_crc INTEGER NOT NULL, crc INTEGER NOT NULL, reports BLOB NOT NULL, "
        "PRIMARY KEY (attempt, last_step)) STRICT, WITHOUT ROWID;");
  }

  void Put(const std::vector<EncodedReport>& batch, int64_t previous_step) {
    std::string bytes;
    for (const EncodedReport& entry : batch) bytes += *entry.bytes;
    const EncodedReport &first = batch.front(), &last = batch.back();
    const int64_t key = LegacyKeyChecksum(first.attempt, first.first_step, last.step, previous_step);
    SQLite::Statement insert(database_, "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)");
    insert.bind(1, first.attempt);
    insert.bind(2, last.step);
    insert.bind(3, first.first_step);
    insert.bind(4, previous_step);
    insert.bind(5, key);
    insert.bind(6, LegacyChecksum(key, bytes));
    insert.bindNoCopy(7, bytes.data(), static_cast<int>(bytes.size()));
    insert.exec();
  }

  SQLite::Database& database() { return database_; }

 private:
  SQLite::Database database_;
};

class LegacyStatisticsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(old_);
    StoreOptions options;
    options.clock = &clock_;
    options.env = QuickDisk();
    auto store = StatisticsStore::Open(dir_.File("history"), std::move(options));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  std::string PathOf(const std::string& uid) const { return absl::StrCat(old_, "/", uid, ".db"); }

  std::vector<std::string> ReadAll(const std::string& uid) {
    std::vector<std::string> all;
    const auto entries = store_->ReadAfter(uid, 0, -1, SIZE_MAX);
    EXPECT_THAT(entries, IsOk());
    for (const EncodedReport& entry : *entries) all.push_back(absl::StrCat(entry.attempt, ":", Describe(entry)));
    return all;
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& file : fs::directory_iterator(old_)) files.push_back(file.path().filename());
    return files;
  }

  const TempDir dir_;
  const std::string old_ = dir_.File("statistics");
  FakeClock clock_;
  std::unique_ptr<StatisticsStore> store_;
};

TEST_F(LegacyStatisticsTest, AreMovedAndTheirFilesRemoved) {
  {
    LegacyWriter a(PathOf("a")), b(PathOf("b"));
    a.Put({MakeReport(1, 0), EncodeLost(1, 1, 3, "away"), MakeReport(1, 4)}, -1);
    a.Put(MakeReports(1, 5, 6, 2), 4);
    a.Put(MakeReports(2, 0, 1, 3), -1);
    b.Put(MakeReports(1, 7, 7), -1);
  }
  ASSERT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk());
  EXPECT_THAT(ReadAll("a"), ElementsAre("1:0=1", "1:1-3 away", "1:4=1", "1:5=2", "1:6=2", "2:0=3", "2:1=3"));
  EXPECT_THAT(ReadAll("b"), ElementsAre("1:7=1"));
  EXPECT_FALSE(fs::exists(old_));
  EXPECT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk()) << "there is nothing more";
}

// Six batches of steps 0 to 119, of which 50 to 59 are lost, as version 0.1 has stored them.
TEST_F(LegacyStatisticsTest, AStoredOneIsReadToTheLastBit) {
  fs::copy(GRADWATCH_SOURCE_DIR "/tests/server/history/stored_0_1.db", PathOf("stored"));
  ASSERT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk());
  const auto entries = store_->ReadAfter("stored", 1, -1, SIZE_MAX);
  ASSERT_THAT(entries, IsOk());
  ASSERT_EQ(entries->size(), 111u);
  int64_t next = 0;
  for (const EncodedReport& entry : *entries) {
    ASSERT_EQ(entry.first_step, next);
    next = entry.step + 1;
    if (entry.lost) {
      EXPECT_EQ(Describe(entry), "50-59 the trainer could not keep them");
      continue;
    }
    const v1::StepReport report = *DecodeReport(*entry.bytes);
    EXPECT_EQ(report.loss(), 2.0 / (1.0 + static_cast<double>(report.step())));
    ASSERT_EQ(report.tensors_size(), 2);
    EXPECT_EQ(report.tensors(1).l2_norm(), static_cast<float>(report.step() + 1));
  }
  EXPECT_EQ(next, 120);
}

TEST_F(LegacyStatisticsTest, WhatIsDamagedInThemIsToldAsLost) {
  {
    LegacyWriter writer(PathOf("u"));
    for (int64_t step = 0; step < 60; step += 10) writer.Put(MakeReports(1, step, step + 1), step - 9);
    writer.database().exec("UPDATE batches SET crc = crc + 1 WHERE first_step = 10");
    writer.database().exec("UPDATE batches SET key_crc = 0 WHERE first_step = 20");
    writer.database().exec("DELETE FROM batches WHERE first_step = 40");
  }
  ASSERT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk());
  EXPECT_THAT(ReadAll("u"), ElementsAre("1:0=1", "1:1=1", absl::StrCat("1:10-21 ", kDamagedReason), "1:30=1", "1:31=1",
                                        absl::StrCat("1:32-41 ", kDamagedReason), "1:50=1", "1:51=1"));
}

TEST_F(LegacyStatisticsTest, OneThatIsNoneIsSetAside) {
  dir_.Write("statistics/bad.db", std::string(9000, 'x'));
  dir_.Write("statistics/notes.txt", "x");
  dir_.Write("statistics/empty.db", "");
  LegacyWriter(PathOf("good")).Put({MakeReport(1, 0)}, -1);
  ASSERT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk());
  EXPECT_THAT(ReadAll("good"), ElementsAre("1:0=1"));
  EXPECT_THAT(ReadAll("bad"), IsEmpty());
  EXPECT_THAT(Files(), UnorderedElementsAre("bad.db.damaged", "notes.txt"));
}

TEST_F(LegacyStatisticsTest, AStopEndsTheMoveAndTheNextStartGoesOn) {
  for (const char* uid : {"a", "b"}) LegacyWriter(PathOf(uid)).Put(MakeReports(1, 0, 9), -1);
  int moved = 0;
  EXPECT_THAT(MoveLegacyStatistics(old_, store_.get(), [&moved] { return moved++ > 0; }),
              StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_NE(fs::exists(PathOf("a")), fs::exists(PathOf("b")));
  EXPECT_EQ(ReadAll("a").size() + ReadAll("b").size(), 10u);
  EXPECT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk());
  EXPECT_FALSE(fs::exists(old_));
  EXPECT_EQ(ReadAll("a").size() + ReadAll("b").size(), 20u);
}

// A start that was cut off in the middle begins the job once more.
TEST_F(LegacyStatisticsTest, WhatWasMovedInPartIsMovedAgain) {
  LegacyWriter(PathOf("u")).Put(MakeReports(1, 0, 9), -1);
  ASSERT_THAT(AppendAndWait(*store_, "u", MakeReports(1, 0, 4)), IsOk());
  ASSERT_THAT(MoveLegacyStatistics(old_, store_.get()), IsOk());
  EXPECT_EQ(ReadAll("u").size(), 10u);
}

}  // namespace
}  // namespace gradwatch::server
