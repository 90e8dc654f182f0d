// What becomes of statistics when rows, files or the whole folder are damaged or gone: told, or harmless.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/history/history_database.h"
#include "server/history/history_rows.h"
#include "server/history/statistics_store.h"
#include "tests/server/history/failing_disk.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/long_form.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

namespace fs = std::filesystem;

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsLong;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Found = StatisticsStore::Found;

const std::string kLostInTheMiddle = absl::StrCat("256-511 ", kDamagedReason);

std::vector<std::string> Steps(int64_t first, int64_t last) {
  std::vector<std::string> steps;
  for (int64_t step = first; step <= last; ++step) steps.push_back(absl::StrCat(step, "=1"));
  return steps;
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class HistoryDamageTest : public ::testing::Test {
 protected:
  std::string folder() const { return dir_.File("history"); }

  std::unique_ptr<StatisticsStore> Open() {
    StoreOptions options;
    options.clock = &clock_;
    options.env = QuickDisk();
    auto store = StatisticsStore::Open(folder(), std::move(options));
    EXPECT_THAT(store, IsOk());
    return store.ok() ? *std::move(store) : nullptr;
  }

  // Steps 0 to 767 of "u" as three batches.
  void Fill() {
    const auto store = Open();
    ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 0, 767)), IsOk());
    ASSERT_THAT(SettleAndWait(*store), IsOk());
  }

  // Changes rows while no store is open.
  void Change(const std::function<void(HistoryDatabase&, HistoryChanges*)>& change) {
    const auto database = HistoryDatabase::Open(folder(), QuickDisk());
    ASSERT_THAT(database, IsOk());
    HistoryChanges rows;
    change(**database, &rows);
    ASSERT_THAT((*database)->Write(rows), IsOk());
  }

  static std::vector<std::string> ReadAll(StatisticsStore& store, const std::string& uid, size_t max_bytes = 1 << 20) {
    std::vector<std::string> all;
    int32_t attempt = 0;
    int64_t step = -1;
    while (true) {
      const auto entries = store.ReadAfter(uid, attempt, step, max_bytes);
      EXPECT_THAT(entries, IsOk());
      if (!entries.ok() || entries->empty()) return all;
      for (const EncodedReport& entry : *entries) all.push_back(Describe(entry));
      attempt = entries->back().attempt;
      step = entries->back().step;
    }
  }

  const TempDir dir_;
  FakeClock clock_;
};

RowKey Batch(int64_t first) {
  return {.kind = RowKind::kBatch, .uid = "u", .attempt = 1, .steps = {first, first + 255}};
}
RowKey Item(int64_t first, size_t level = 0) {
  return {.kind = RowKind::kItem, .uid = "u", .attempt = 1, .level = level, .steps = {first, first}};
}

TEST_F(HistoryDamageTest, ABatchThatIsDamagedOrGoneIsToldAndReadingGoesOn) {
  Fill();
  const struct {
    const char* name;
    std::function<void(HistoryDatabase&, HistoryChanges*)> change;
  } kCases[] = {
      {"gone", [](HistoryDatabase&, HistoryChanges* rows) { rows->Delete(Batch(256).Encode()); }},
      {"not a batch", [](HistoryDatabase&, HistoryChanges* rows) { rows->Put(Batch(256).Encode(), "x"); }},
      {"gone with its item", [](HistoryDatabase&, HistoryChanges* rows) { rows->Delete(Item(256).Encode()); }},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    Change(c.change);
    const auto store = Open();
    for (const size_t max_bytes : {1, 3000, 1 << 20}) {
      EXPECT_EQ(ReadAll(*store, "u", max_bytes),
                Steps(0, 255) + std::vector<std::string>{kLostInTheMiddle} + Steps(512, 767));
    }
    EXPECT_EQ(Describe(store->ReadAfter("u", 1, 300, 1)->front()), absl::StrCat("301-511 ", kDamagedReason));
    EXPECT_EQ(*store->LastStep("u", 1), 767);
  }
}

TEST_F(HistoryDamageTest, AQuestionTellsADamagedBatchAndAnswersFromTiers) {
  Fill();
  Change([](HistoryDatabase&, HistoryChanges* rows) { rows->Delete(Batch(256).Encode()); });
  const auto store = Open();
  const auto source = *store->Source("u", 1);
  StatisticsQuestion question;
  question.max_points = 768;
  const auto answer = AnswerQuestion(question, {}, source.get());
  ASSERT_THAT(answer, IsOk());
  ASSERT_THAT(answer->gaps, SizeIs(1));
  EXPECT_EQ(answer->gaps[0].steps, (StepRange{256, 511}));
  int64_t count = 0;
  for (const Bucket& point : answer->series[0].points) count += point.count;
  EXPECT_EQ(count, 768) << "the tiers have them";
}

TEST_F(HistoryDamageTest, ARowOfTiersThatIsGoneIsNoEmptyOne) {
  Fill();
  Change([](HistoryDatabase&, HistoryChanges* rows) {
    const KeyRange all = RowsOf(RowKind::kTier);
    rows->DeleteRange(all.from, all.to);
  });
  const auto store = Open();
  const auto source = *store->Source("u", 1);
  StatisticsQuestion question;
  question.max_points = 10;
  const auto answer = AnswerQuestion(question, {}, source.get());
  ASSERT_THAT(answer, IsOk());
  int64_t count = 0;
  for (const Bucket& point : answer->series[0].points) count += point.count;
  EXPECT_EQ(count, 768) << "from the reports";
}

// Which steps of a level are damaged; the buckets of all others, up to `last`, know of all their reports.
StepRanges DamagedOf(BlockSource& source, int64_t level, int64_t last) {
  StepRanges damaged;
  const auto row = [&](const StepRange& steps, absl::string_view bytes) {
    const absl::StatusOr<Tier> tier = DecodeTier(bytes);
    if (!tier.ok()) return damaged.push_back(steps);
    for (size_t i = 0; i < tier->buckets; ++i) {
      const int64_t first = steps.first + static_cast<int64_t>(i) * level;
      if (first + level - 1 > last) break;
      EXPECT_EQ(tier->At(static_cast<size_t>(JobSeries::kLoss), i).count, level) << first;
    }
  };
  EXPECT_THAT(source.ForEachRow(level, TierGroup::kJob, {.first = 0, .last = last}, row), IsOk());
  return Together(std::move(damaged));
}

TEST_F(HistoryDamageTest, ARowOfTiersThatIsDamagedStaysSoWhenRowsAreJoined) {
  const std::string key = RowKey{
      .kind = RowKind::kTier,
      .uid = "u",
      .attempt = 1,
      .level = 1,
      .group = TierGroup::kJob,
      .steps = {256, 511}}.Encode();
  const struct {
    const char* name;
    std::function<void(HistoryDatabase&, HistoryChanges*)> change;
  } kCases[] = {
      {"gone", [&key](HistoryDatabase&, HistoryChanges* rows) { rows->Delete(key); }},
      {"not a row", [&key](HistoryDatabase&, HistoryChanges* rows) { rows->Put(key, "x"); }},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    fs::remove_all(folder());
    {
      const auto store = Open();
      ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 0, 4000)), IsOk());
      ASSERT_THAT(SettleAndWait(*store), IsOk());
    }
    Change(c.change);
    const auto store = Open();
    for (int64_t step = 4001; step < 5001; step += 500) {
      ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, step, step + 499)), IsOk());
      ASSERT_THAT(SettleAndWait(*store), IsOk());
    }
    const auto source = *store->Source("u", 1);
    EXPECT_EQ(DamagedOf(*source, 16, 4095), (StepRanges{StepRange{256, 511}}));
    EXPECT_EQ(DamagedOf(*source, 256, 4095), (StepRanges{StepRange{256, 511}}));
    for (const int64_t points : {10, 200}) {
      StatisticsQuestion question;
      question.max_points = points;
      const auto answer = AnswerQuestion(question, {}, source.get());
      ASSERT_THAT(answer, IsOk());
      ASSERT_THAT(answer->gaps, SizeIs(1));
      EXPECT_EQ(answer->gaps[0].steps, (StepRange{256, 511}));
      int64_t count = 0;
      for (const Bucket& point : answer->series[0].points) count += point.count;
      EXPECT_EQ(count, 5001) << "the reports have them";
    }
    // What comes again of the block is no sound row either.
    ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 300, 301)), IsOk());
    ASSERT_THAT(SettleAndWait(*store), IsOk());
    EXPECT_EQ(DamagedOf(**store->Source("u", 1), 16, 4095), (StepRanges{StepRange{256, 511}}));
  }
}

// The next level is made of them twice: before the first ones go, and when all have come.
TEST_F(HistoryDamageTest, ARowOfTiersThatIsDamagedCostsItsBucketsHoweverOftenTheNextLevelIsMade) {
  const RowKey damaged = {
      .kind = RowKind::kTier, .uid = "u", .attempt = 1, .level = 1, .group = TierGroup::kJob, .steps = {256, 511}};
  {
    const auto store = Open();
    ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 0, 255)), IsOk());
    ASSERT_THAT(SettleAndWait(*store), IsOk());
    clock_.Advance(absl::Hours(2));
    ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 256, 1999)), IsOk());
    ASSERT_THAT(SettleAndWait(*store), IsOk());
  }
  Change([&](HistoryDatabase&, HistoryChanges* rows) { rows->Delete(damaged.Encode()); });
  const auto store = Open();
  store->SetBudget("u", {.max_bytes = 0, .max_age = absl::Hours(1)});
  ASSERT_THAT(SettleAndWait(*store), IsOk());
  EXPECT_THAT((*store->Source("u", 1))->Kept(16), ElementsAreArray({StepRange{256, 1999}}));
  EXPECT_EQ(DamagedOf(**store->Source("u", 1), 256, 1791), (StepRanges{StepRange{256, 511}}));
  ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 2000, 5000)), IsOk());
  ASSERT_THAT(SettleAndWait(*store), IsOk());
  EXPECT_EQ(DamagedOf(**store->Source("u", 1), 256, 4095), (StepRanges{StepRange{256, 511}}));
  // Then all go, and something comes again.
  clock_.Advance(absl::Hours(2));
  ASSERT_THAT(SettleAndWait(*store), IsOk());
  EXPECT_THAT((*store->Source("u", 1))->Kept(16), IsEmpty());
  store->SetBudget("u", {});
  ASSERT_THAT(AppendAndWait(*store, "u", {MakeReport(1, 600, 7)}), IsOk());
  ASSERT_THAT(SettleAndWait(*store), IsOk());
  StepRanges unread;
  double max = 0;
  const auto row = [&](const StepRange& steps, absl::string_view bytes) {
    const absl::StatusOr<Tier> tier = DecodeTier(bytes);
    if (!tier.ok()) return unread.push_back(steps);
    if (steps.Has(600)) max = tier->At(static_cast<size_t>(JobSeries::kLoss), (600 - steps.first) / 256).max;
  };
  EXPECT_THAT((*store->Source("u", 1))->ForEachRow(256, TierGroup::kJob, {.first = 0, .last = 4095}, row), IsOk());
  EXPECT_THAT(unread, ElementsAreArray({StepRange{256, 511}}));
  EXPECT_EQ(max, 7);
}

TEST_F(HistoryDamageTest, AJournalThatHasLostARecordTellsTheGap) {
  {
    const auto store = Open();
    for (int64_t step = 0; step < 30; step += 10) {
      ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, step, step + 9)), IsOk());
    }
  }
  Change([](HistoryDatabase& database, HistoryChanges* rows) {
    std::vector<std::string> records;
    const KeyRange journal = RowsOf(RowKind::kJournal);
    ASSERT_THAT(database.ForEach(
                    journal.from, journal.to,
                    [&](absl::string_view key, absl::string_view) {
                      records.emplace_back(key);
                      return true;
                    },
                    [](absl::string_view, absl::string_view) {}),
                IsOk());
    ASSERT_GE(records.size(), 3u);
    rows->Put(records[1], "x");
  });
  const auto store = Open();
  EXPECT_EQ(store->found(), Found::kDamaged);
  EXPECT_EQ(ReadAll(*store, "u"),
            Steps(0, 9) + std::vector<std::string>{absl::StrCat("10-19 ", kDamagedReason)} + Steps(20, 29));
}

// A row whose checksum does not hold.
void SpoilRow(const std::string& folder, const std::string& key) {
  rocksdb::Options options;
  options.env = QuickDisk();
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, folder, &opened).ok());
  const std::unique_ptr<rocksdb::DB> database(opened);
  ASSERT_TRUE(database->Put({}, key, "spoilt").ok());
}

// It is told once, and gone then: not at every start.
TEST_F(HistoryDamageTest, RowsThatAreDamagedAreNotFoundAgain) {
  const struct {
    const char* name;
    std::string key;
  } kCases[] = {
      {"the first record of the journal", JournalKey(1)},
      {"an item", Item(256).Encode()},
      {"a lost range", RowKey{.kind = RowKind::kLost, .uid = "u", .attempt = 1, .steps = {900, 900}}.Encode()},
      {"names", RowKey{.kind = RowKind::kNames, .uid = "u"}.Encode()},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    fs::remove_all(folder());
    Fill();
    ASSERT_NO_FATAL_FAILURE(SpoilRow(folder(), c.key));
    for (const Found found : {Found::kDamaged, Found::kSound}) {
      const auto store = Open();
      EXPECT_EQ(store->found(), found);
      EXPECT_EQ(ReadAll(*store, "u"), Steps(0, 767));
      ASSERT_THAT(AppendAndWait(*store, "v", MakeReports(1, 0, 9)), IsOk());
      ASSERT_THAT(SettleAndWait(*store), IsOk());
    }
  }
}

// A clock that lets the disk run full when it is asked for the time at first, which is while an index is made anew.
class FillingClock final : public core::Clock {
 public:
  FillingClock(const core::Clock* clock, FailingFiles* files) : clock_(*clock), files_(*files) {}
  absl::Time Now() const override {
    if (!was_asked_.exchange(true)) files_.is_full = true;
    return clock_.Now();
  }
  absl::Duration Monotonic() const override { return clock_.Monotonic(); }

 private:
  const core::Clock& clock_;
  FailingFiles& files_;
  mutable std::atomic<bool> was_asked_ = false;
};

TEST_F(HistoryDamageTest, AnIndexThatCannotBeWrittenAnewIsWrittenWhenItCan) {
  Fill();
  ASSERT_NO_FATAL_FAILURE(SpoilRow(folder(), Item(256).Encode()));
  FailingDisk disk;
  disk.files->skips_sync = true;
  {
    const FillingClock clock(&clock_, disk.files.get());
    StoreOptions options;
    options.clock = &clock;
    options.env = disk.env.get();
    const auto store = StatisticsStore::Open(folder(), std::move(options));
    ASSERT_THAT(store, IsOk());
    EXPECT_EQ((*store)->found(), Found::kDamaged);
    EXPECT_FALSE(SettleAndWait(**store).ok()) << "it was tried";
    ASSERT_TRUE(disk.files->is_full);
    disk.files->is_full = false;
    clock_.Advance(absl::Seconds(1));
    ASSERT_THAT(AppendAndWait(**store, "v", MakeReports(1, 0, 9)), IsOk());
    ASSERT_THAT(SettleAndWait(**store), IsOk());
  }
  const auto store = Open();
  EXPECT_EQ(store->found(), Found::kSound);
  EXPECT_EQ(ReadAll(*store, "u"), Steps(0, 767));
}

// Of attempts that go on at a step of theirs nothing is missing before it.
TEST_F(HistoryDamageTest, ALaterAttemptHasLostNothingBeforeItsFirstStep) {
  const auto batch = [](int32_t attempt) {
    return RowKey{.kind = RowKind::kBatch, .uid = "u", .attempt = attempt, .steps = {1000, 1023}}.Encode();
  };
  const auto item = [](int32_t attempt) {
    return RowKey{.kind = RowKind::kItem, .uid = "u", .attempt = attempt, .steps = {1000, 1000}}.Encode();
  };
  const std::string damaged = absl::StrCat("1000-1023 ", kDamagedReason);
  for (const int32_t attempt : {1, 2}) {
    SCOPED_TRACE(attempt);
    fs::remove_all(folder());
    {
      const auto store = Open();
      ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(attempt, 1000, 1023)), IsOk());
      ASSERT_THAT(SettleAndWait(*store), IsOk());
      ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(attempt, 1024, 1099)), IsOk());
      ASSERT_THAT(SettleAndWait(*store), IsOk());
    }
    Change([&](HistoryDatabase&, HistoryChanges* rows) { rows->Put(batch(attempt), "x"); });
    ASSERT_NO_FATAL_FAILURE(SpoilRow(folder(), item(attempt)));
    const auto store = Open();
    const std::string first = attempt == 1 ? absl::StrCat("0-1023 ", kDamagedReason) : damaged;
    EXPECT_EQ(ReadAll(*store, "u"), std::vector<std::string>{first} + Steps(1024, 1099));
  }
}

// What a start finds without its index it finds again.
TEST_F(HistoryDamageTest, AnIndexIsMadeAnewFromBatchesAndTiers) {
  Fill();
  fs::remove(folder() + "/CURRENT");  // it is repaired, and nothing is missing
  Change([](HistoryDatabase&, HistoryChanges* rows) {
    for (const RowKind kind : {RowKind::kItem, RowKind::kLost}) {
      const KeyRange all = RowsOf(kind);
      rows->DeleteRange(all.from, all.to);
    }
  });
  fs::remove(folder() + "/CURRENT");
  for (int round = 0; round < 2; ++round) {
    const auto store = Open();
    EXPECT_EQ(store->found(), round == 0 ? Found::kDamaged : Found::kSound);
    EXPECT_EQ(ReadAll(*store, "u"), Steps(0, 767));
    const auto source = *store->Source("u", 1);
    EXPECT_THAT(source->Kept(16), ElementsAreArray({StepRange{0, 767}}));
    EXPECT_GT(store->UsageOf("u").range_bytes, 0);
    ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 768, 768)), IsOk());
    ASSERT_THAT(SettleAndWait(*store), IsOk());
    store->Remove("u", [] {});
    ASSERT_THAT(AppendAndWait(*store, "u", MakeReports(1, 0, 767)), IsOk());
    ASSERT_THAT(SettleAndWait(*store), IsOk());
  }
}

TEST_F(HistoryDamageTest, AFolderThatIsGoneOrEmptiedIsANewOne) {
  Fill();
  for (const auto& file : fs::directory_iterator(folder())) fs::resize_file(file.path(), 0);
  {
    const auto store = Open();
    EXPECT_EQ(store->found(), Found::kDamaged);
    EXPECT_THAT(store->Uids(), IsEmpty());
    EXPECT_THAT(AppendAndWait(*store, "u", MakeReports(1, 0, 9)), IsOk());
  }
  fs::remove_all(folder());
  const auto store = Open();
  EXPECT_EQ(store->found(), Found::kNew);
  EXPECT_THAT(AppendAndWait(*store, "u", MakeReports(1, 0, 9)), IsOk());
}

TEST_F(HistoryDamageTest, WhatIsNoFileAnyMoreIsToldAsLost) {
  const std::function<void(const fs::path&)> kDamages[] = {
      [](const fs::path& file) { fs::create_directory(file); },
      [](const fs::path& file) { fs::create_symlink("/nonexistent/table", file); },
      [](const fs::path&) {},
  };
  for (const auto& damage : kDamages) {
    fs::remove_all(folder());
    Fill();
    fs::path largest;
    for (const auto& file : fs::directory_iterator(folder())) {
      if (file.path().extension() != ".sst") continue;
      if (largest.empty() || file.file_size() > fs::file_size(largest)) largest = file.path();
    }
    fs::remove(largest);
    damage(largest);
    const auto store = Open();
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(store->found(), Found::kDamaged);
    EXPECT_THAT(AppendAndWait(*store, "new", MakeReports(1, 0, 9)), IsOk());
    EXPECT_THAT(SettleAndWait(*store), IsOk());
  }
}

// A folder with batches, tiers and a journal, byte by byte.
class HistoryFuzzTest : public HistoryDamageTest {
 protected:
  static constexpr int kJobs = 3;
  static constexpr int64_t kLast = 900;

  static EncodedReport Report(int64_t step) {
    v1::StepReport report;
    report.set_attempt(1);
    report.set_step(step);
    report.set_loss(static_cast<double>(step));
    for (int i = 0; i < 3; ++i) {
      report.add_tensors()->set_tensor(i);
      report.mutable_tensors(i)->set_l2_norm(static_cast<float>(step + i));
    }
    return EncodeReport(report);
  }

  void SetUp() override {
    const auto store = Open();
    for (int64_t step = 0; step <= kLast; step += 30) {
      for (int job = 0; job < kJobs; ++job) {
        std::vector<EncodedReport> reports;
        for (int64_t at = step; at <= std::min(kLast, step + 29); ++at) reports.push_back(Report(at));
        ASSERT_THAT(AppendAndWait(*store, absl::StrCat("job-", job), std::move(reports)), IsOk());
      }
      if (step != 600) continue;
      ASSERT_THAT(SettleAndWait(*store), IsOk());
    }
    fs::copy(folder(), whole_);  // as the end of the process leaves it
  }

  // Each step up to the last that is told is as it was, or told as lost; and that there were more, the store knows,
  // unless its log was cut off: then what it has is what it had at some earlier moment.
  void ExpectToldOrEqual(StatisticsStore& store, const std::string& uid, bool is_cut) {
    const auto entries = store.ReadAfter(uid, 1, -1, SIZE_MAX);
    ASSERT_THAT(entries, IsOk());
    int64_t step = -1;
    for (const EncodedReport& entry : *entries) {
      ASSERT_EQ(entry.first_step, step + 1);
      ASSERT_TRUE(entry.lost ? absl::StrContains(Describe(entry), kDamagedReason)
                             : *entry.bytes == *Report(entry.step).bytes);
      step = entry.step;
    }
    ASSERT_LE(step, kLast);
    ASSERT_TRUE(step == kLast || is_cut || store.found() == Found::kDamaged) << "it ends at " << step;
  }

  const std::string whole_ = dir_.File("whole");
};

TEST_F(HistoryFuzzTest, NothingWrongIsTold) {
  std::mt19937 random(2);
  std::vector<std::string> files;
  for (const auto& file : fs::directory_iterator(whole_)) {
    const std::string name = file.path().filename();
    if (file.file_size() > 0 && !absl::StartsWith(name, "LO")) files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  for (int round = 0, end = IsLong() ? 1000 : 40; round < end; ++round) {
    fs::remove_all(folder());
    fs::remove_all(folder() + ".damaged");
    fs::copy(whole_, folder());
    const std::string file = absl::StrCat(folder(), "/", files[random() % files.size()]);
    const auto size = static_cast<int64_t>(fs::file_size(file));
    const auto at = static_cast<int64_t>(random()) % size;
    SCOPED_TRACE(absl::StrCat(file, " at ", at, ", round ", round));
    if (round % 10 == 0) {
      fs::resize_file(file, static_cast<uintmax_t>(at));
    } else {
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      stream.seekg(at);
      const int byte = stream.get();
      stream.seekp(at);
      stream.put(static_cast<char>(byte ^ (1 << random() % 8)));
    }
    const auto store = Open();
    ASSERT_NE(store, nullptr);
    for (int job = 0; job < kJobs; ++job) {
      const bool is_cut = round % 10 == 0 && absl::EndsWith(file, ".log");
      ASSERT_NO_FATAL_FAILURE(ExpectToldOrEqual(*store, absl::StrCat("job-", job), is_cut));
    }
    ASSERT_THAT(AppendAndWait(*store, "new", {Report(0)}), IsOk());
  }
}

}  // namespace
}  // namespace gradwatch::server
