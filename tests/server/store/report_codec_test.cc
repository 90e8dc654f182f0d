#include "server/store/report_codec.h"

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
  EXPECT_EQ(first.bytes + second.bytes, response.SerializeAsString());
  EXPECT_EQ(second.attempt, 2);
  EXPECT_EQ(second.step, int64_t{1} << 40);
}

TEST(ReportCodecTest, DecodesWhatItEncoded) {
  const v1::StepReport report = LargeReport(7);
  const auto decoded = DecodeReport(EncodeReport(report).bytes);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(decoded->SerializeAsString(), report.SerializeAsString());
}

TEST(ReportCodecTest, SplitsWhatWasJoined) {
  std::string bytes;
  for (int64_t step : {0, 1, 127, 128, 70000}) bytes += EncodeReport(LargeReport(step)).bytes;
  bytes += MakeReport(0, 0).bytes;
  const auto reports = SplitReports(2, bytes);
  ASSERT_THAT(reports, IsOk());
  std::vector<int64_t> steps;
  std::string joined;
  for (const EncodedReport& report : *reports) {
    steps.push_back(report.step);
    joined += report.bytes;
    EXPECT_EQ(report.attempt, 2);
  }
  EXPECT_THAT(steps, ::testing::ElementsAre(0, 1, 127, 128, 70000, 0));
  EXPECT_EQ(joined, bytes);
  EXPECT_TRUE(SplitReports(1, "")->empty());
}

TEST(ReportCodecTest, RefusesOtherBytes) {
  const std::string good = EncodeReport(LargeReport(7)).bytes;
  for (size_t length = 1; length < good.size(); ++length) {
    EXPECT_THAT(SplitReports(1, good.substr(0, length)), StatusIs(absl::StatusCode::kDataLoss, _)) << length;
    EXPECT_THAT(DecodeReport(good.substr(0, length)), StatusIs(absl::StatusCode::kDataLoss, _)) << length;
  }
  EXPECT_THAT(DecodeReport(good + good), StatusIs(absl::StatusCode::kDataLoss, _));
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
