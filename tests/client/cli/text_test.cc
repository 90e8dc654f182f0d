#include "client/cli/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace gradwatch::cli {
namespace {

TEST(TextTest, Numbers) {
  EXPECT_EQ(NumberText(0.123456), "0.1235");
  EXPECT_EQ(NumberText(123456789), "1.235e+08");
  EXPECT_EQ(NumberText(10000), "10000") << "not 1e+04";
  EXPECT_EQ(NumberText(-1e6), "-1000000");
  EXPECT_EQ(NumberText(1234567), "1.235e+06");
  EXPECT_EQ(NumberText(12345.6), "1.235e+04");
  EXPECT_EQ(NumberText(std::numeric_limits<double>::quiet_NaN()), "NaN");
  EXPECT_EQ(NumberText(-std::numeric_limits<double>::infinity()), "-Infinity");
}

TEST(ExactTextTest, TellsEveryNumberFromItsNeighbours) {
  EXPECT_EQ(ExactText(0.1), "0.1");
  EXPECT_EQ(ExactText(1), "1");
  EXPECT_EQ(ExactText(0), "0");
  EXPECT_EQ(ExactText(12345), "12345");
  EXPECT_EQ(ExactText(1e-30), "1e-30");
  EXPECT_EQ(ExactText(1.00001), "1.00001");
  EXPECT_EQ(ExactText(-std::numeric_limits<double>::infinity()), "-Infinity");
  for (const double number : {1.0, 0.1, 12345.678, 1e300, 5e-324}) {
    EXPECT_NE(ExactText(number), ExactText(std::nextafter(number, 2e300))) << number;
  }
}

TEST(TextTest, BytesAndTimes) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(int64_t{3} << 30), "3 GiB");
  EXPECT_EQ(DurationText(absl::Seconds(119)), "119 s");
  EXPECT_EQ(DurationText(absl::Minutes(5)), "5 min");
  EXPECT_EQ(DurationText(absl::Hours(5)), "5 h");
  EXPECT_EQ(DurationText(absl::Hours(50)), "2 d");
  google::protobuf::Timestamp time;
  EXPECT_EQ(AgoText(time, absl::FromUnixSeconds(100)), "");
  time.set_seconds(60);
  EXPECT_EQ(AgoText(time, absl::FromUnixSeconds(100)), "40 s ago");
  EXPECT_EQ(AgoText(time, absl::FromUnixSeconds(50)), "0 s ago");
}

TEST(TextTest, TimesOfDayNameTheDayIfItIsAnother) {
  google::protobuf::Timestamp time;
  time.set_seconds(86'399);
  const absl::TimeZone utc = absl::UTCTimeZone();
  EXPECT_EQ(ClockText(time, absl::UnixEpoch(), utc), "23:59:59");
  EXPECT_EQ(ClockText(time, absl::UnixEpoch(), absl::FixedTimeZone(7200)), "1970-01-02 01:59:59");
  time.set_nanos(1);
  EXPECT_EQ(ClockText(time, absl::UnixEpoch(), utc), "1970-01-02 00:00:00") << "not before it";
}

TEST(TextTest, QuotesForTheShellOnlyWhereNeeded) {
  EXPECT_EQ(ShellQuoted("abc-1.2_3="), "abc-1.2_3=");
  EXPECT_EQ(ShellQuoted("rnn0.*"), "'rnn0.*'");
  EXPECT_EQ(ShellQuoted("a'b"), "'a'\\''b'");
  EXPECT_EQ(ShellQuoted(""), "''");
}

TEST(TextTest, TablesAreAsWideAsTheirCells) {
  EXPECT_EQ(TableText({{"JOB", "STATE"}, {"long-name", "x"}, {"\xc3\xa9", ""}}),
            "JOB        STATE\nlong-name  x\n\xc3\xa9\n");
}

TEST(TextTest, CellsAreFitForATerminal) { EXPECT_EQ(TableText({{"name", "a\nb\x1b"}}), "name  a\\nb\\x1b\n"); }

}  // namespace
}  // namespace gradwatch::cli
