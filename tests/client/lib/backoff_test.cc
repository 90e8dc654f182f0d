#include "client/lib/backoff.h"

#include <gtest/gtest.h>

namespace gradwatch::client {
namespace {

TEST(BackoffTest, DoublesItsBoundUpToTheLargest) {
  Backoff backoff(absl::Milliseconds(200), absl::Seconds(1), [] { return 0.5; });
  EXPECT_EQ(backoff.Next(), absl::Milliseconds(100));
  EXPECT_EQ(backoff.Next(), absl::Milliseconds(200));
  EXPECT_EQ(backoff.Next(), absl::Milliseconds(400));
  EXPECT_EQ(backoff.Next(), absl::Milliseconds(500));
  EXPECT_EQ(backoff.Next(), absl::Milliseconds(500));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(), absl::Milliseconds(100));
}

TEST(BackoffTest, DrawsByItself) {
  Backoff backoff(absl::Seconds(1), absl::Seconds(1));
  bool differs = false;
  const absl::Duration first = backoff.Next();
  for (int i = 0; i < 100; ++i) {
    const absl::Duration delay = backoff.Next();
    EXPECT_GE(delay, absl::ZeroDuration());
    EXPECT_LT(delay, absl::Seconds(1));
    differs = differs || delay != first;
  }
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace gradwatch::client
