#include "server/stream/job_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/server/store/store_testing.h"
#include "tests/server/stream/stream_testing.h"

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kLarge = 1 << 20;
constexpr size_t kHuge = 1 << 30;
constexpr WatchCursor kBeginning;

std::vector<int64_t> Numbers(const JobChannel::Window& window) {
  std::vector<int64_t> numbers;
  for (const EncodedEvent& event : window.events) numbers.push_back(event.number);
  return numbers;
}

std::vector<int64_t> Steps(const JobChannel::Window& window) {
  std::vector<int64_t> steps;
  for (const EncodedReport& report : window.reports) steps.push_back(report.step);
  return steps;
}

void AppendEvents(JobChannel& channel, int64_t first, int64_t last) {
  for (int64_t number = first; number <= last; ++number)
    channel.AppendEvent(EncodeEvent(MakeEvent("j", number), number), false);
}

TEST(JobChannelTest, ANewJobHasNothing) {
  RingBudget budget(kHuge, kLarge);
  const JobChannel channel("u", {}, false, &budget);
  const auto window = channel.Read(kBeginning, kLarge);
  EXPECT_THAT(Numbers(window), IsEmpty());
  EXPECT_FALSE(window.events_behind || window.reports_behind || window.ended);
  EXPECT_TRUE(window.complete);
  EXPECT_EQ(channel.End(), kBeginning);
  EXPECT_EQ(channel.uid(), "u");
}

TEST(JobChannelTest, EntriesAreFieldsOfAWatchJobResponse) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  AppendEvents(channel, 1, 2);
  channel.AppendReports(MakeReports(1, 0, 2, 0.5));
  const auto window = channel.Read(kBeginning, kLarge);
  std::string bytes;
  for (const EncodedEvent& event : window.events) bytes += *event.bytes;
  for (const EncodedReport& report : window.reports) bytes += *report.bytes;
  const v1::WatchJobResponse response = ParseResponse(bytes);
  ASSERT_EQ(response.events_size(), 2);
  EXPECT_EQ(response.events(1).SerializeAsString(), MakeEvent("j", 2).SerializeAsString());
  ASSERT_EQ(response.reports_size(), 3);
  EXPECT_EQ(response.reports(2).step(), 2);
  EXPECT_EQ(response.reports(2).loss(), 0.5);
}

TEST(JobChannelTest, GivesWhatComesAfterTheCursor) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  AppendEvents(channel, 1, 5);
  channel.AppendReports(MakeReports(1, 0, 4));
  channel.AppendReports(MakeReports(2, 3, 5));
  const auto window = channel.Read({.event = 3, .attempt = 1, .step = 2}, kLarge);
  EXPECT_THAT(Numbers(window), ElementsAre(4, 5));
  EXPECT_THAT(Steps(window), ElementsAre(3, 4, 3, 4, 5));
  EXPECT_TRUE(window.complete);
  EXPECT_EQ(window.end, (WatchCursor{5, 2, 5}));
  EXPECT_EQ(window.end, channel.End());
  EXPECT_THAT(Steps(channel.Read({.event = 5, .attempt = 2, .step = 5}, kLarge)), IsEmpty());
}

TEST(JobChannelTest, KeepsToTheSizeButGivesOneAtLeast) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  AppendEvents(channel, 1, 3);
  channel.AppendReports(MakeReports(1, 0, 9));
  auto window = channel.Read(kBeginning, 1);
  EXPECT_THAT(Numbers(window), ElementsAre(1));
  EXPECT_THAT(Steps(window), IsEmpty());
  EXPECT_FALSE(window.complete);
  window = channel.Read({.event = 3}, 2 * MakeReport(1, 1).bytes->size());
  EXPECT_THAT(Steps(window), ElementsAre(0, 1, 2));
  EXPECT_FALSE(window.complete || window.reports_behind);
}

TEST(JobChannelTest, TheRingKeepsTheNewest) {
  RingBudget budget(kHuge, 3 * (MakeReport(1, 1).bytes->size() + kEntryOverhead));
  JobChannel channel("u", {}, false, &budget);
  channel.AppendReports(MakeReports(1, 1, 3));
  EXPECT_FALSE(channel.Read(kBeginning, kLarge).reports_behind);
  channel.AppendReports(MakeReports(1, 4, 5));
  auto window = channel.Read({.event = 0, .attempt = 1, .step = 1}, kLarge);
  EXPECT_TRUE(window.reports_behind);
  EXPECT_FALSE(window.events_behind || window.complete);
  EXPECT_EQ(window.start, (WatchCursor{0, 1, 2}));
  window = channel.Read({.event = 0, .attempt = 1, .step = 2}, kLarge);
  EXPECT_THAT(Steps(window), ElementsAre(3, 4, 5));
  EXPECT_TRUE(window.complete);

  RingBudget tiny_budget(kHuge, 1);
  JobChannel tiny("u", {}, false, &tiny_budget);
  AppendEvents(tiny, 1, 4);
  EXPECT_TRUE(tiny.Read({.event = 2}, kLarge).events_behind);
  EXPECT_THAT(Numbers(tiny.Read({.event = 3}, kLarge)), ElementsAre(4));
}

TEST(JobChannelTest, WhatWasBeforeTheChannelIsInTheStore) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {7, 2, 99}, false, &budget);
  EXPECT_EQ(channel.End(), (WatchCursor{7, 2, 99}));
  auto window = channel.Read({.event = 6, .attempt = 2, .step = 98}, kLarge);
  EXPECT_TRUE(window.events_behind && window.reports_behind);
  EXPECT_TRUE(channel.Read({7, 2, 99}, kLarge).complete);
  AppendEvents(channel, 8, 8);
  EXPECT_THAT(Numbers(channel.Read({7, 2, 99}, kLarge)), ElementsAre(8));
}

TEST(JobChannelTest, AStepIsNeverStreamedTwice) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  channel.AppendReports(MakeReports(1, 0, 5));
  channel.AppendReports(MakeReports(1, 3, 7, 9));
  EXPECT_THAT(Steps(channel.Read(kBeginning, kLarge)), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(JobChannelTest, EndsWithItsJob) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  AppendEvents(channel, 1, 1);
  channel.AppendEvent(EncodeEvent(MakeEvent("j", 2), 2), true);
  EXPECT_TRUE(channel.ended());
  EXPECT_TRUE(channel.Read(kBeginning, kLarge).ended);
  EXPECT_FALSE(channel.Read(kBeginning, 1).ended);
  EXPECT_TRUE(JobChannel("u", {3, 1, 1}, true, &budget).Read({3, 1, 1}, kLarge).ended);
}

TEST(JobChannelTest, EventsMayComeAfterTheEnd) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {4, 1, 1}, true, &budget);
  AppendEvents(channel, 5, 5);
  const auto window = channel.Read({4, 1, 1}, kLarge);
  EXPECT_THAT(Numbers(window), ElementsAre(5));
  EXPECT_TRUE(window.ended) << "with what comes after the end";
}

TEST(JobChannelTest, ALostRangeThatBeginsWithWhatWasStreamedIsCut) {
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  channel.AppendReports(MakeReports(1, 0, 5));
  channel.AppendReports({EncodeLost(1, 3, 9, "no room"), MakeReport(1, 10)});
  const auto window = channel.Read({0, 1, 5}, kLarge);
  ASSERT_THAT(Steps(window), ElementsAre(9, 10));
  EXPECT_EQ(Describe(window.reports[0]), "6-9 no room");
}

TEST(JobChannelTest, ReadersAndWritersMeet) {
  constexpr int kEntries = 3000;
  RingBudget budget(kHuge, kLarge);
  JobChannel channel("u", {}, false, &budget);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&channel] {
      WatchCursor cursor;
      while (cursor.event < kEntries || cursor.step < kEntries) {
        const auto window = channel.Read(cursor, 500);
        for (const EncodedEvent& event : window.events) ASSERT_EQ(event.number, ++cursor.event);
        for (const EncodedReport& report : window.reports) {
          ASSERT_EQ(report.step, ++cursor.step);
          cursor.attempt = report.attempt;
        }
      }
    });
  }
  threads.emplace_back([&channel] { AppendEvents(channel, 1, kEntries); });
  threads.emplace_back([&channel] {
    for (int step = 0; step <= kEntries; ++step) channel.AppendReports({MakeReport(1, step)});
  });
  for (std::thread& thread : threads) thread.join();
}

// Of a full ring those reports are copied that are sent, and on the lane of live streams none.
TEST(JobChannelTest, RangesCopyOnlyWhatIsSent) {
  RingBudget budget(kHuge, kHuge);
  JobChannel channel("u", {}, false, &budget);
  channel.AppendReports(MakeReports(1, 0, 9'998));
  channel.AppendReports({EncodeLost(1, 9'999, 10'009, "why")});
  channel.AppendReports(MakeReports(2, 0, 9));
  const auto first_bytes = channel.Read(kBeginning, 1).reports[0].bytes;
  const JobChannel::RangeLimits limits{.unit = 100, .max_ranges = 10, .most_left_bytes = kHuge};
  auto window = channel.ReadRanges(kBeginning, kLarge, limits);
  ASSERT_EQ(window.ranges.size(), 10u);
  EXPECT_THAT(Steps(window), ElementsAre(999, 1'999, 2'999, 3'999, 4'999, 5'999, 6'999, 7'999, 8'999, 9'998));
  ASSERT_EQ(window.lost.size(), 1u);
  EXPECT_EQ(window.lost[0].first_step, 9'999);
  EXPECT_EQ(window.reached, (WatchCursor{0, 1, 10'009}));
  EXPECT_FALSE(window.complete) << "there is another attempt";
  EXPECT_EQ(first_bytes.use_count(), 2) << "here and in the ring";
  window = channel.ReadRanges(window.reached, kLarge, limits);
  EXPECT_THAT(window.ranges, IsEmpty()) << "none is closed";
  EXPECT_TRUE(window.complete);
  window = channel.ReadRanges(kBeginning, kLarge, {.unit = 100, .max_ranges = 10, .most_left_bytes = 1000});
  EXPECT_THAT(window.ranges, IsEmpty());
  EXPECT_GT(window.left_bytes, 1000u);
  EXPECT_FALSE(window.complete);
}

}  // namespace
}  // namespace gradwatch::server
