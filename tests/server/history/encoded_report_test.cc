#include "server/history/encoded_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "gradwatch/v1/watch_service.pb.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;

v1::StepReport LargeReport(int64_t step) {
  v1::StepReport report;
  report.set_attempt(2);
  report.set_step(step);
  report.set_loss(std::nan(""));
  for (int i = 0; i < 20; ++i) report.add_tensors()->set_l2_norm(i);
  return report;
}

TEST(ReportCodecTest, AReportIsAFieldOfAWatchJobResponse) {
  v1::WatchJobResponse response;
  *response.add_reports() = LargeReport(0);
  *response.add_reports() = LargeReport(int64_t{1} << 40);
  const EncodedReport first = EncodeReport(response.reports(0));
  const EncodedReport second = EncodeReport(response.reports(1));
  EXPECT_EQ(*first.bytes + *second.bytes, response.SerializeAsString());
  EXPECT_EQ(second.attempt, 2);
  EXPECT_EQ(second.step, int64_t{1} << 40);
  EXPECT_EQ(second.first_step, second.step);
  EXPECT_FALSE(second.lost);
}

TEST(ReportCodecTest, ALostRangeIsAFieldOfAWatchJobResponse) {
  v1::WatchJobResponse response;
  v1::StatisticsLost& lost = *response.add_lost();
  lost.set_attempt(2);
  lost.set_first_step(5);
  lost.set_last_step(int64_t{1} << 40);
  lost.set_reason("away");
  const EncodedReport entry = EncodeLost(lost);
  EXPECT_EQ(*entry.bytes, response.SerializeAsString());
  EXPECT_TRUE(entry.lost);
  EXPECT_EQ(entry.attempt, 2);
  EXPECT_EQ(entry.first_step, 5);
  EXPECT_EQ(entry.step, int64_t{1} << 40);
  EXPECT_EQ(DecodeLost(*entry.bytes)->SerializeAsString(), lost.SerializeAsString());
}

TEST(ReportCodecTest, CutsALostRange) {
  const EncodedReport lost = EncodeLost(2, 5, 9, "away");
  EXPECT_EQ(Describe(CutLost(lost, 0, 100)), "5-9 away");
  EXPECT_EQ(Describe(CutLost(lost, 6, 100)), "6-9 away");
  EXPECT_EQ(Describe(CutLost(lost, 0, 8)), "5-8 away");
  EXPECT_EQ(Describe(CutLost(lost, 7, 7)), "7-7 away");
  EXPECT_EQ(CutLost(lost, 7, 7).attempt, 2);
  EXPECT_EQ(CutLost(lost, 7, 7).first_step, 7);
}

TEST(ReportCodecTest, MergesEntriesOfTheSameSteps) {
  const auto merged = [](const std::vector<EncodedReport>& old, const std::vector<EncodedReport>& fresh) {
    std::vector<std::string> all;
    for (const EncodedReport& entry : MergeReports(old, fresh)) all.push_back(Describe(entry));
    return all;
  };
  const auto lost = [](int64_t first, int64_t last, absl::string_view why) { return EncodeLost(1, first, last, why); };
  // A report replaces a report, and cuts what was lost.
  EXPECT_THAT(merged(MakeReports(1, 0, 2), {MakeReport(1, 1, 7)}), ElementsAre("0=1", "1=7", "2=1"));
  EXPECT_THAT(merged({lost(0, 9, "old")}, MakeReports(1, 3, 4, 7)), ElementsAre("0-2 old", "3=7", "4=7", "5-9 old"));
  EXPECT_THAT(merged({lost(3, 3, "old")}, {MakeReport(1, 3, 7)}), ElementsAre("3=7"));
  // A lost range never takes a report away.
  EXPECT_THAT(merged({MakeReport(1, 2), MakeReport(1, 3), MakeReport(1, 5)}, {lost(0, 6, "new")}),
              ElementsAre("0-1 new", "2=1", "3=1", "4-4 new", "5=1", "6-6 new"));
  EXPECT_THAT(merged(MakeReports(1, 0, 2), {lost(0, 2, "new")}), ElementsAre("0=1", "1=1", "2=1"));
  // A lost range replaces another, which keeps what is left of it.
  EXPECT_THAT(merged({lost(0, 9, "old")}, {lost(3, 4, "new")}), ElementsAre("0-2 old", "3-4 new", "5-9 old"));
  EXPECT_THAT(merged({lost(0, 4, "old")}, {lost(0, 4, "new")}), ElementsAre("0-4 new"));
  EXPECT_THAT(merged({lost(0, INT64_MAX, "old")}, {lost(5, INT64_MAX, "new")}),
              ElementsAre("0-4 old", "5-9223372036854775807 new"));
}

TEST(ReportCodecTest, DecodesWhatItEncoded) {
  const v1::StepReport report = LargeReport(7);
  const auto decoded = DecodeReport(*EncodeReport(report).bytes);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(decoded->SerializeAsString(), report.SerializeAsString());
}

TEST(ReportCodecTest, SplitsWhatWasJoined) {
  std::string bytes;
  for (int64_t step : {0, 1, 127, 128, 70000}) bytes += *EncodeReport(LargeReport(step)).bytes;
  bytes += *EncodeLost(2, 70001, 70009, "away").bytes;
  bytes += *MakeReport(0, 0).bytes;
  const auto reports = SplitReports(2, bytes);
  ASSERT_THAT(reports, IsOk());
  std::vector<int64_t> steps;
  std::string joined;
  for (const EncodedReport& report : *reports) {
    steps.push_back(report.step);
    joined += *report.bytes;
    EXPECT_EQ(report.attempt, 2);
  }
  EXPECT_THAT(steps, ElementsAre(0, 1, 127, 128, 70000, 70009, 0));
  EXPECT_TRUE((*reports)[5].lost);
  EXPECT_EQ((*reports)[5].first_step, 70001);
  EXPECT_EQ(joined, bytes);
  EXPECT_TRUE(SplitReports(1, "")->empty());
}

TEST(ReportCodecTest, RefusesOtherBytes) {
  const std::string good = *EncodeReport(LargeReport(7)).bytes;
  for (size_t length = 1; length < good.size(); ++length) {
    EXPECT_THAT(SplitReports(1, good.substr(0, length)), StatusIs(absl::StatusCode::kDataLoss, _)) << length;
    EXPECT_THAT(DecodeReport(good.substr(0, length)), StatusIs(absl::StatusCode::kDataLoss, _)) << length;
  }
  EXPECT_THAT(DecodeReport(good + good), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT(DecodeLost(good), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT(DecodeReport(*EncodeLost(1, 2, 3, "").bytes), StatusIs(absl::StatusCode::kDataLoss, _));
  std::mt19937 random(1);
  for (int i = 0; i < 10'000; ++i) {  // never crashes
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (i % 2 == 0 && bytes.size() > 1) bytes[0] = 0x1a, bytes[1] = static_cast<char>(bytes.size() - 2);
    SplitReports(1, bytes).IgnoreError();
    DecodeReport(bytes).IgnoreError();
  }
}

}  // namespace
}  // namespace gradwatch::server
