#include "server/history/history_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tests/server/history/failing_disk.h"
#include "tests/support/long_form.h"
#include "tests/support/process.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

namespace fs = std::filesystem;

using ::gradwatch::testing::IsLong;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::Process;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using Found = HistoryDatabase::Found;
using Rows = std::map<std::string, std::string>;

constexpr char kFolderVariable[] = "GRADWATCH_TEST_HISTORY";

// As long as real ones: a kind, a job, an attempt, steps.
std::string Key(int number) { return absl::StrFormat("b%036d%04d%016d", number / 100, 1, number % 100 * 256); }

std::string ValueOf(const std::string& key, size_t size = 3000) {
  std::mt19937_64 random(std::hash<std::string>()(key));
  std::string value(size, '\0');
  for (char& c : value) c = static_cast<char>(random());
  return value;
}

std::unique_ptr<HistoryDatabase> OpenAt(const std::string& path, rocksdb::Env* env = nullptr) {
  auto database = HistoryDatabase::Open(path, env);
  EXPECT_THAT(database, IsOk());
  return database.ok() ? *std::move(database) : nullptr;
}

absl::Status Put(HistoryDatabase& database, int first, int end) {
  HistoryChanges changes;
  for (int i = first; i < end; ++i) changes.Put(Key(i), ValueOf(Key(i)));
  return database.Write(changes);
}

struct Contents {
  Rows rows;
  std::vector<std::pair<std::string, std::string>> holes;
};

Contents Read(const HistoryDatabase& database, const std::string& from, const std::string& to) {
  Contents contents;
  const auto row = [&](absl::string_view key, absl::string_view value) {
    EXPECT_TRUE(contents.rows.emplace(key, value).second);
    return true;
  };
  const auto hole = [&](absl::string_view first, absl::string_view end) { contents.holes.emplace_back(first, end); };
  EXPECT_THAT(database.ForEach(from, to, row, hole), IsOk());
  return contents;
}

Contents ReadBatches(const HistoryDatabase& database) { return Read(database, "b", "c"); }

void ExpectKeys(const HistoryDatabase& database, int first, int end) {
  const Contents contents = ReadBatches(database);
  EXPECT_THAT(contents.holes, IsEmpty());
  EXPECT_EQ(contents.rows.size(), static_cast<size_t>(end - first));
  for (int i = first; i < end; ++i) {
    const auto row = contents.rows.find(Key(i));
    ASSERT_NE(row, contents.rows.end()) << i;
    EXPECT_EQ(row->second, ValueOf(Key(i))) << i;
  }
}

TEST(HistoryDatabaseTest, KeepsRowsInTheOrderOfKeys) {
  TempDir dir;
  const std::string nul("a\0b", 3);
  {
    const auto database = OpenAt(dir.File("history"));
    EXPECT_EQ(database->found(), Found::kNew);
    HistoryChanges changes;
    EXPECT_TRUE(changes.empty());
    for (const char* key : {"a", "b2", "b1", "b3", "b9", "c"}) changes.Put(key, absl::StrCat("value of ", key));
    changes.Put(nul, "");
    changes.DeleteRange("b3", "c");
    changes.DeleteRange("c", "a");  // nothing
    changes.Put("b3", "again");
    changes.Delete("b2");
    EXPECT_THAT(database->Write(changes), IsOk());
    EXPECT_THAT(database->Sync(), IsOk());
  }
  const auto database = OpenAt(dir.File("history"));
  EXPECT_EQ(database->found(), Found::kSound);
  EXPECT_THAT(Read(*database, "a", "d").rows,
              ElementsAre(Pair("a", "value of a"), Pair(nul, ""), Pair("b1", "value of b1"), Pair("b3", "again"),
                          Pair("c", "value of c")));
  EXPECT_THAT(Read(*database, "b", "b3").rows, ElementsAre(Pair("b1", "value of b1")));
  EXPECT_EQ(*database->Get("b3"), "again");
  EXPECT_THAT(database->Get("b2"), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST(HistoryDatabaseTest, ReadingEndsWhenItIsToldTo) {
  TempDir dir;
  const auto database = OpenAt(dir.File("history"));
  ASSERT_THAT(Put(*database, 0, 5), IsOk());
  int rows = 0;
  const auto hole = [](absl::string_view, absl::string_view) { ADD_FAILURE(); };
  EXPECT_THAT(database->ForEach(
                  "b", "c", [&](absl::string_view, absl::string_view) { return ++rows < 2; }, hole),
              IsOk());
  EXPECT_EQ(rows, 2);
}

TEST(HistoryDatabaseTest, IsNotOpenedTwiceNorByAnOlderProgram) {
  TempDir dir;
  {
    const auto database = OpenAt(dir.File("history"));
    EXPECT_THAT(HistoryDatabase::Open(dir.File("history")), StatusIs(absl::StatusCode::kUnavailable, _));
    HistoryChanges changes;
    changes.Put("v", "2");
    EXPECT_THAT(database->Write(changes), IsOk());
  }
  EXPECT_THAT(HistoryDatabase::Open(dir.File("history")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("newer gradwatch")));
}

// Not a test: what the next one kills. Says how far it has come.
TEST(HistoryDatabaseChild, DISABLED_WritesUntilItIsKilled) {
  const auto database = OpenAt(std::getenv(kFolderVariable));
  for (int i = 0;; ++i) {
    ASSERT_THAT(Put(*database, 10 * i, 10 * i + 10), IsOk());
    if (i % 20 == 19) {
      ASSERT_THAT(database->Sync(), IsOk());
    }
    printf("written %d\n", 10 * i + 10);
    fflush(stdout);
  }
}

TEST(HistoryDatabaseTest, WhatWasWrittenOutlivesAKill) {
  std::mt19937 random(1);
  for (int round = 0; round < 5; ++round) {
    TempDir dir;
    const std::string folder = dir.File("history");
    int written = 0;
    {
      Process child({fs::read_symlink("/proc/self/exe"), "--gtest_also_run_disabled_tests",
                     "--gtest_filter=HistoryDatabaseChild.*"},
                    {absl::StrCat(kFolderVariable, "=", folder)});
      const auto read = [&](const std::string& text) {
        const auto line = child.ReadUntil(text);
        if (line.has_value()) {
          EXPECT_TRUE(absl::SimpleAtoi(line->substr(line->find(' ') + 1), &written)) << *line;
        }
        return line.has_value();
      };
      for (int lines = static_cast<int>(random() % 150); lines >= 0; --lines) ASSERT_TRUE(read("written"));
      child.Signal(SIGKILL);
      EXPECT_EQ(child.Wait(), -SIGKILL);
      while (read("written")) continue;  // said before it died
    }
    const auto database = OpenAt(folder);
    EXPECT_EQ(database->found(), Found::kSound);
    const Contents contents = ReadBatches(*database);
    EXPECT_THAT(contents.holes, IsEmpty());
    EXPECT_GE(contents.rows.size(), static_cast<size_t>(written));
    EXPECT_EQ(contents.rows.size() % 10, 0u) << "a part of a write";
    for (int i = 0; i < written; ++i) EXPECT_EQ(contents.rows.at(Key(i)), ValueOf(Key(i)));
  }
}

TEST(HistoryDatabaseTest, HealsWhenAFullDiskHasRoomAgain) {
  TempDir dir;
  FailingDisk disk;
  {
    const auto database = OpenAt(dir.File("history"), disk.env.get());
    ASSERT_THAT(Put(*database, 0, 10), IsOk());
    disk.files->is_full = true;
    EXPECT_THAT(Put(*database, 10, 20), StatusIs(absl::StatusCode::kResourceExhausted, _));
    EXPECT_THAT(Put(*database, 20, 30), Not(IsOk())) << "what is behind something missing";
    EXPECT_THAT(database->Sync(), Not(IsOk()));
    ExpectKeys(*database, 0, 10);
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(database->Heal(), StatusIs(absl::StatusCode::kResourceExhausted, _));
      ExpectKeys(*database, 0, 10);
    }

    disk.files->is_full = false;
    EXPECT_THAT(database->Heal(), IsOk());
    ExpectKeys(*database, 0, 10);
    EXPECT_THAT(Put(*database, 10, 15), IsOk());
    EXPECT_THAT(database->Sync(), IsOk());
  }
  const auto database = OpenAt(dir.File("history"));
  EXPECT_EQ(database->found(), Found::kSound);
  ExpectKeys(*database, 0, 15);
}

// As after a start, or behind a table that has just been written: there is nothing that makes RocksDB take another log.
TEST(HistoryDatabaseTest, HealsWhereTheFirstWriteToALogHasFailed) {
  TempDir dir;
  FailingDisk disk;
  ASSERT_THAT(Put(*OpenAt(dir.File("history")), 0, 10), IsOk());
  {
    const auto database = OpenAt(dir.File("history"), disk.env.get());
    disk.files->is_full = true;
    EXPECT_THAT(Put(*database, 10, 20), StatusIs(absl::StatusCode::kResourceExhausted, _));
    EXPECT_THAT(database->Heal(), StatusIs(absl::StatusCode::kResourceExhausted, _));
    ExpectKeys(*database, 0, 10);
    disk.files->is_full = false;
    EXPECT_THAT(database->Heal(), IsOk());
    EXPECT_THAT(Put(*database, 10, 20), IsOk());
    EXPECT_THAT(database->Sync(), IsOk());
  }
  ExpectKeys(*OpenAt(dir.File("history")), 0, 20);
}

// The kernel may have given up the pages of the log and calls the next sync a success.
TEST(HistoryDatabaseTest, AFailedSyncIsNotTriedAgain) {
  TempDir dir;
  FailingDisk disk;
  {
    const auto database = OpenAt(dir.File("history"), disk.env.get());
    ASSERT_THAT(Put(*database, 0, 10), IsOk());
    disk.files->cannot_sync = true;
    EXPECT_THAT(database->Sync(), Not(IsOk()));
    disk.files->cannot_sync = false;
    const int syncs = disk.files->log_syncs;
    EXPECT_THAT(database->Sync(), StatusIs(absl::StatusCode::kUnavailable, _));
    EXPECT_THAT(Put(*database, 10, 20), StatusIs(absl::StatusCode::kUnavailable, _));
    EXPECT_THAT(database->Heal(), IsOk());
    EXPECT_EQ(disk.files->log_syncs, syncs);
    bool is_in_a_table = false;
    for (const auto& entry : fs::directory_iterator(dir.File("history"))) {
      is_in_a_table = is_in_a_table || (entry.path().extension() == ".sst" && entry.file_size() > 10 * 3000);
    }
    EXPECT_TRUE(is_in_a_table);
    EXPECT_THAT(Put(*database, 10, 20), IsOk());
    EXPECT_THAT(database->Sync(), IsOk());
  }
  ExpectKeys(*OpenAt(dir.File("history")), 0, 20);
}

TEST(HistoryDatabaseTest, GivesSpaceBack) {
  TempDir dir;
  const auto database = OpenAt(dir.File("history"));
  for (int i = 0; i < 2000; i += 100) ASSERT_THAT(Put(*database, i, i + 100), IsOk());
  ASSERT_THAT(database->Compact("b", "c"), IsOk());
  const auto full = database->Usage();
  ASSERT_THAT(full, IsOk());
  EXPECT_GT(full->live, 2000 * 3000 * 0.9);
  HistoryChanges changes;
  changes.DeleteRange(Key(0), Key(1000));
  ASSERT_THAT(database->Write(changes), IsOk());
  ASSERT_THAT(database->CompactDeleted(Key(0), Key(1000)), IsOk());
  ASSERT_THAT(database->Compact("b", "c"), IsOk());
  const auto half = database->Usage();
  ASSERT_THAT(half, IsOk());
  EXPECT_LT(half->live, full->live * 0.6);
  EXPECT_LT(half->files, full->files - 2'500'000);
  ExpectKeys(*database, 1000, 2000);
}

// Three tables and a log, each of 50 rows, as the end of the process leaves them.
void MakeFolderOfFourFiles(const std::string& folder) {
  const std::string open = folder + ".open";
  for (int i = 0; i < 4; ++i) {
    const auto database = OpenAt(open, QuickDisk());
    ASSERT_THAT(Put(*database, 50 * i, 50 * i + 50), IsOk());
    if (i == 3) fs::copy(open, folder);
  }
  fs::remove_all(open);
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (entry.is_regular_file() && !absl::StartsWith(name, "LO")) files.push_back(entry.path());  // LOG, LOCK
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The first `rows` rows are there, or that they are not is told.
void ExpectWholeOrTold(const std::string& folder, int rows = 200) {
  const auto database = OpenAt(folder, QuickDisk());
  ASSERT_NE(database, nullptr);
  const Contents contents = ReadBatches(*database);
  for (const auto& [key, value] : contents.rows) EXPECT_EQ(value, ValueOf(key));
  for (int i = 0; i < rows; ++i) {
    const std::string key = Key(i);
    bool is_told = database->found() != Found::kSound || contents.rows.contains(key);
    for (const auto& [first, end] : contents.holes) is_told = is_told || (first <= key && key < end);
    EXPECT_TRUE(is_told) << i;
  }
  EXPECT_THAT(Put(*database, 1000, 1010), IsOk());
  EXPECT_EQ(*database->Get(Key(1000)), ValueOf(Key(1000)));
}

// Not before a second try fails, too.
TEST(HistoryDatabaseTest, AReadErrorThatPassesIsNoDamage) {
  TempDir dir;
  const std::string folder = dir.File("history");
  MakeFolderOfFourFiles(folder);
  FailingDisk disk;
  for (const int errors : {0, 1}) {
    SCOPED_TRACE(errors);
    disk.files->read_errors = errors;
    const auto database = OpenAt(folder, disk.env.get());
    EXPECT_EQ(disk.files->read_errors, 0);
    EXPECT_EQ(database->found(), Found::kSound);
    disk.files->read_errors = errors;
    ExpectKeys(*database, 0, 200);
    EXPECT_EQ(disk.files->read_errors, 0);
  }
  const auto database = OpenAt(folder, disk.env.get());
  disk.files->read_errors = 1;
  EXPECT_EQ(*database->Get(Key(70)), ValueOf(Key(70)));
  EXPECT_EQ(disk.files->read_errors, 0);
  disk.files->read_errors = 1'000'000;
  EXPECT_THAT(database->Get(Key(20)), StatusIs(absl::StatusCode::kDataLoss, _));
  disk.files->read_errors = 0;
}

TEST(HistoryDatabaseTest, ATurnedBitIsToldOrHarmless) {
  TempDir dir;
  const std::string whole = dir.File("whole"), folder = dir.File("history");
  MakeFolderOfFourFiles(whole);
  std::mt19937_64 random(3);
  for (int round = 0, end = IsLong() ? 3000 : 60; round < end; ++round) {
    fs::remove_all(folder);
    fs::copy(whole, folder);
    const std::vector<std::string> files = FilesIn(folder);
    const std::string& path = files[random() % files.size()];
    const uint64_t size = fs::file_size(path);
    if (size == 0) continue;
    // Half of them near the end, where a table says what it holds.
    const uint64_t place = round % 2 == 0 ? random() % size : size - 1 - random() % std::min<uint64_t>(size, 1500);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(place));
    const auto byte = static_cast<char>(file.get() ^ (1 << random() % 8));
    file.seekp(static_cast<std::streamoff>(place));
    file.put(byte);
    file.close();
    SCOPED_TRACE(absl::StrCat("round ", round, ": ", path, " at ", place, " of ", size));
    ExpectWholeOrTold(folder);
  }
}

TEST(HistoryDatabaseTest, FilesThatAreGoneEmptyOrCutAreTold) {
  TempDir dir;
  const std::string whole = dir.File("whole"), folder = dir.File("history");
  MakeFolderOfFourFiles(whole);
  const std::map<std::string, std::function<void(const std::string&)>> faults = {
      {"gone", [](const std::string& path) { fs::remove(path); }},
      {"empty", [](const std::string& path) { fs::resize_file(path, 0); }},
      {"cut", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) / 2); }},
      {"longer", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) + 4096); }},
  };
  for (const auto& [name, fault] : faults) {
    for (size_t i = 0; i < FilesIn(whole).size(); ++i) {
      fs::remove_all(folder);
      fs::copy(whole, folder);
      const std::string path = FilesIn(folder)[i];
      fault(path);
      SCOPED_TRACE(absl::StrCat(path, " ", name));
      // Nothing tells the end of a log from that of another moment.
      ExpectWholeOrTold(folder, absl::EndsWith(path, ".log") ? 150 : 200);
    }
  }
}

TEST(HistoryDatabaseTest, WhatCannotBeRepairedIsSetAside) {
  TempDir dir;
  FailingDisk disk;
  const std::string folder = dir.File("history");
  MakeFolderOfFourFiles(folder);
  fs::create_directory(folder + ".damaged");
  dir.Write("history.damaged/older", "");
  dir.Write("history/unreadable", "");
  {
    const auto database = OpenAt(folder, disk.env.get());
    EXPECT_EQ(database->found(), Found::kSetAside);
    EXPECT_THAT(ReadBatches(*database).rows, IsEmpty());
    EXPECT_THAT(Put(*database, 0, 10), IsOk());
  }
  const auto database = OpenAt(folder, disk.env.get());
  EXPECT_EQ(database->found(), Found::kSound);
  ExpectKeys(*database, 0, 10);
  EXPECT_TRUE(fs::exists(folder + ".damaged/unreadable"));
  EXPECT_FALSE(fs::exists(folder + ".damaged/older"));
}

// Changes a byte in the middle of the largest table.
void DamageTable(const std::string& folder) {
  std::string table;
  for (const std::string& path : FilesIn(folder)) {
    if (absl::EndsWith(path, ".sst") && (table.empty() || fs::file_size(path) > fs::file_size(table))) table = path;
  }
  std::fstream file(table, std::ios::in | std::ios::out | std::ios::binary);
  const auto place = static_cast<std::streamoff>(fs::file_size(table) / 2);
  file.seekg(place);
  const auto byte = static_cast<char>(file.get() ^ 1);
  file.seekp(place);
  file.put(byte);
}

TEST(HistoryDatabaseTest, DamageThatTidyingComesAcrossEndsNothing) {
  TempDir dir;
  const std::string folder = dir.File("history");
  MakeFolderOfFourFiles(folder);
  DamageTable(folder);
  const auto database = OpenAt(folder);
  EXPECT_THAT(database->Compact("b", "c"), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_TRUE(database->needs_rebuild());
  EXPECT_THAT(Put(*database, 200, 210), IsOk());

  Contents told;
  EXPECT_THAT(
      database->Rebuild([&](absl::string_view first, absl::string_view end) { told.holes.emplace_back(first, end); }),
      IsOk());
  EXPECT_FALSE(database->needs_rebuild());
  EXPECT_EQ(told.holes.size(), 1u);
  const Contents contents = ReadBatches(*database);
  EXPECT_THAT(contents.holes, IsEmpty());
  EXPECT_GE(contents.rows.size(), 208u) << told.holes[0].first << "\n" << told.holes[0].second;
  EXPECT_THAT(database->Compact("b", "c"), IsOk());
  EXPECT_THAT(Put(*database, 210, 220), IsOk());
  EXPECT_EQ(*database->Get(Key(209)), ValueOf(Key(209)));
  EXPECT_THAT(FilesIn(dir.path()), IsEmpty());
}

TEST(HistoryDatabaseTest, ARebuildMayBeCutOffAnywhere) {
  TempDir dir;
  const std::string folder = dir.File("history");
  MakeFolderOfFourFiles(folder);
  // A part of a copy.
  fs::create_directory(folder + ".copy");
  dir.Write("history.copy/CURRENT", "MANIFEST-000001\n");
  ExpectKeys(*OpenAt(folder), 0, 200);
  EXPECT_FALSE(fs::exists(folder + ".copy"));
  // A whole one that has not taken its place yet.
  fs::rename(folder, folder + ".copy");
  fs::create_directory(folder + ".old");
  ExpectKeys(*OpenAt(folder), 0, 200);
  EXPECT_FALSE(fs::exists(folder + ".copy"));
  EXPECT_FALSE(fs::exists(folder + ".old"));
}

}  // namespace
}  // namespace gradwatch::server
