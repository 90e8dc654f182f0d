#include "client/worker/notice_log.h"

#include <gtest/gtest.h>

namespace gradwatch::worker {
namespace {

v1::Notice After(int64_t steps_done) {
  v1::Notice notice;
  notice.set_steps_done(steps_done);
  return notice;
}

TEST(NoticeLogTest, NumbersFromOne) {
  NoticeLog log;
  EXPECT_FALSE(log.Get(1).has_value());
  log.Add(After(10));
  log.Add(After(20));
  ASSERT_TRUE(log.Get(1).has_value());
  EXPECT_EQ(log.Get(1)->number(), 1);
  EXPECT_EQ(log.Get(1)->steps_done(), 10);
  EXPECT_EQ(log.Get(2)->number(), 2);
  EXPECT_FALSE(log.Get(0).has_value());
  EXPECT_FALSE(log.Get(3).has_value());
}

TEST(NoticeLogTest, KeepsUntilAcknowledged) {
  NoticeLog log;
  EXPECT_TRUE(log.AllAcknowledged());
  for (int i = 0; i < 3; ++i) log.Add(After(i));
  log.Acknowledge(2);
  EXPECT_FALSE(log.AllAcknowledged());
  EXPECT_FALSE(log.Get(2).has_value());
  EXPECT_EQ(log.Get(3)->steps_done(), 2);
  log.Acknowledge(1);  // an old one changes nothing
  EXPECT_TRUE(log.Get(3).has_value());
  log.Acknowledge(3);
  EXPECT_TRUE(log.AllAcknowledged());
  log.Add(After(4));
  EXPECT_EQ(log.Get(4)->number(), 4);
}

TEST(NoticeLogTest, AnAcknowledgementOfMoreThanThereIsCountsForWhatThereIs) {
  NoticeLog log;
  log.Add(After(0));
  log.Acknowledge(100);
  EXPECT_TRUE(log.AllAcknowledged());
  log.Add(After(1));
  EXPECT_EQ(log.Get(2)->number(), 2);
}

TEST(NoticeLogTest, TellsHowManyAlertsWait) {
  NoticeLog log;
  v1::Notice alert = After(1);
  alert.mutable_alert()->set_rule("rule");
  for (int i = 0; i < 3; ++i) {
    log.Add(After(1));
    log.Add(alert);
  }
  EXPECT_EQ(log.waiting_alerts(), 3);
  log.Acknowledge(3);
  EXPECT_EQ(log.waiting_alerts(), 2);
  EXPECT_EQ(log.acknowledged(), 3);
  log.Acknowledge(6);
  EXPECT_EQ(log.waiting_alerts(), 0);
}

}  // namespace
}  // namespace gradwatch::worker
