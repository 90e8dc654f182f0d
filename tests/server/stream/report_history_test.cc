#include "server/stream/report_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/server/store/store_testing.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;

// Has the steps 0 to 9999 of attempt 1, and counts its reads.
class CountingStore final : public StatisticsStore {
 public:
  void Append(absl::string_view, std::vector<EncodedReport>, AppendDone) override {}
  void Barrier(absl::AnyInvocable<void()>) override {}
  void Remove(absl::string_view, absl::AnyInvocable<void()>) override {}
  std::vector<std::string> Uids() const override { return {}; }
  void Settle(absl::AnyInvocable<void(const absl::Status&)>) override {}
  Found found() const override { return Found::kSound; }
  void Protect(absl::string_view, int32_t, int64_t, int64_t) override {}
  void SetBudget(absl::string_view, const RetentionBudget&) override {}
  void KeepBudgets() override {}
  absl::StatusOr<int64_t> LastStep(absl::string_view, int32_t) const override { return 9999; }
  absl::StatusOr<std::unique_ptr<BlockSource>> Source(absl::string_view, int32_t) override {
    return absl::UnimplementedError("no questions");
  }
  std::vector<std::string> LayerNames(absl::string_view) const override { return {}; }
  StoreUsage Usage() const override { return {}; }
  JobUsage UsageOf(absl::string_view) const override { return {}; }
  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                       size_t max_bytes) override {
    ++reads;
    if (uid == "damaged") return absl::DataLossError("damaged");
    if (attempt == 0) step = -1;
    std::vector<EncodedReport> reports;
    for (size_t bytes = 0; bytes < max_bytes && step < 9999; bytes += reports.back().bytes->size()) {
      reports.push_back(MakeReport(1, ++step));
    }
    return reports;
  }
  std::atomic<int> reads = 0;
};

// Reads all there is and returns how many steps came.
int64_t ReadThrough(ReportHistory& history, const std::string& uid, int64_t step = -1) {
  int64_t count = 0;
  for (;;) {
    const auto chunk = history.ReadAfter(uid, 1, step);
    EXPECT_THAT(chunk, IsOk());
    if (!chunk.ok() || *chunk == nullptr) return count;
    for (const auto& entry : (*chunk)->entries) {
      if (entry.step <= step) continue;
      EXPECT_EQ(entry.step, step + 1);
      const auto report = DecodeReport((*chunk)->bytes->substr(entry.begin, entry.end - entry.begin));
      EXPECT_THAT(report, IsOk());
      EXPECT_EQ(report->step(), entry.step);
      ++step;
      ++count;
    }
  }
}

TEST(ReportHistoryTest, ManyReadersReadTheStoreOnce) {
  CountingStore store;
  ReportHistory history(&store, size_t{1} << 30);
  EXPECT_EQ(ReadThrough(history, "a"), 10'000);
  const int reads = store.reads;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&, i] { EXPECT_EQ(ReadThrough(history, "a", i * 777 - 1), 10'000 - i * 777); });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_LE(store.reads, reads + 4) << "only the end of what is stored is asked for again";
  EXPECT_EQ(ReadThrough(history, "b"), 10'000);
  EXPECT_GT(store.reads, reads + 4) << "another job";
}

TEST(ReportHistoryTest, KeepsToItsSizeAndForgetsWhatNobodyReads) {
  CountingStore store;
  ReportHistory tiny(&store, 1);
  EXPECT_EQ(ReadThrough(tiny, "a"), 10'000);
  const int reads = store.reads;
  EXPECT_EQ(ReadThrough(tiny, "a"), 10'000);
  EXPECT_GE(store.reads, 2 * reads - 1);

  ReportHistory history(&store, size_t{1} << 30);
  store.reads = 0;
  EXPECT_EQ(ReadThrough(history, "a"), 10'000);
  history.Tick(absl::Seconds(1));
  history.Tick(absl::Seconds(60));
  const int before = store.reads;
  EXPECT_EQ(ReadThrough(history, "a"), 10'000);
  EXPECT_EQ(store.reads, 2 * before);
}

// A chunk is a message; what the store reads at once is more.
TEST(ReportHistoryTest, ReadsManyChunksAtOnce) {
  CountingStore store;
  ReportHistory history(&store, size_t{1} << 30);
  for (int64_t step = -1; step < 9'999;) {
    const auto chunk = history.ReadAfter("a", 1, step);
    ASSERT_THAT(chunk, IsOk());
    EXPECT_LE((*chunk)->bytes->size(), size_t{129} << 10);
    step = (*chunk)->entries.back().step;
  }
  EXPECT_EQ(store.reads, 1) << "all steps are less than a mebibyte";
}

TEST(ReportHistoryTest, ErrorsAreNotKept) {
  CountingStore store;
  ReportHistory history(&store, 1 << 20);
  for (int i = 1; i <= 2; ++i) {
    EXPECT_THAT(history.ReadAfter("damaged", 0, -1), StatusIs(absl::StatusCode::kDataLoss, _));
    EXPECT_EQ(store.reads, i);
  }
}

}  // namespace
}  // namespace gradwatch::server
