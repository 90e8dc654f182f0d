#include "server/base/process_limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace gradwatch::server {
namespace {

TEST(ProcessLimitsTest, TheStoresKeepDescriptors) {
  EXPECT_EQ(MaxConnections(64), 32);
  EXPECT_EQ(MaxConnections(256), 128);
  EXPECT_EQ(MaxConnections(1024), 820);
  EXPECT_EQ(MaxConnections(20'000), 16'000);
  EXPECT_EQ(MaxConnections(1 << 20), 16'384);
  EXPECT_EQ(MaxRunningJobs(4), 1);
  EXPECT_EQ(MaxRunningJobs(256), 21);
  EXPECT_EQ(MaxRunningJobs(20'000), 1666);
}

TEST(ProcessLimitsTest, TheSoftLimitIsRaisedToTheHardOne) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = before.rlim_max / 2;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), static_cast<int64_t>(before.rlim_max));
  rlimit after = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace gradwatch::server
