// When databases that are written to are made durable and closed, by a clock that the test moves.
#include "server/store/statistics_writers.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;

class StatisticsWritersTest : public ::testing::Test {
 protected:
  void Write(const std::string& uid) {
    const std::vector<EncodedReport> reports = MakeReports(1, step_, step_);
    ASSERT_THAT(writers_.Write(uid, {&reports}), IsOk());
    ++step_;
  }
  // How often Maintain runs before it may wait.
  int MaintainAll() {
    int times = 0;
    for (; writers_.UntilMaintenance() <= absl::ZeroDuration(); ++times) writers_.Maintain();
    return times;
  }

  const testing::TempDir dir_;
  testing::FakeClock clock_;
  InlineExecutor executor_;
  int64_t step_ = 0;
  StatisticsWriters writers_{dir_.path(), &clock_, &executor_, /*max_open=*/8};
};

TEST_F(StatisticsWritersTest, OneDatabaseAtATimeIsMadeDurable) {
  EXPECT_EQ(writers_.UntilMaintenance(), absl::InfiniteDuration());
  Write("a");
  Write("b");
  clock_.Advance(absl::Milliseconds(400));
  Write("c");
  Write("a");  // again: that does not put it off
  EXPECT_EQ(writers_.UntilMaintenance(), absl::Milliseconds(600));
  EXPECT_EQ(MaintainAll(), 0);
  clock_.Advance(absl::Milliseconds(600));
  EXPECT_EQ(MaintainAll(), 2);
  EXPECT_EQ(writers_.UntilMaintenance(), absl::Milliseconds(400));
  clock_.Advance(absl::Milliseconds(400));
  EXPECT_EQ(MaintainAll(), 1);
}

TEST_F(StatisticsWritersTest, WhatIsNotWrittenToIsClosedAfterAWhile) {
  Write("a");
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(MaintainAll(), 1);
  EXPECT_EQ(writers_.UntilMaintenance(), absl::Seconds(29));
  clock_.Advance(absl::Seconds(29));
  EXPECT_EQ(MaintainAll(), 1);
  EXPECT_EQ(writers_.UntilMaintenance(), absl::InfiniteDuration());
  Write("a");
}

}  // namespace
}  // namespace gradwatch::server
