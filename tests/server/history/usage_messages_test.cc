#include "server/history/usage_messages.h"

#include <gtest/gtest.h>

namespace gradwatch::server {
namespace {

TEST(UsageMessagesTest, WhatARetentionDoesNotSayIsAsOtherwise) {
  const RetentionBudget own = {.max_bytes = 100, .max_age = absl::Hours(1)};
  v1::Retention retention;
  EXPECT_EQ(BudgetOf(retention, own).max_bytes, 100);
  EXPECT_EQ(BudgetOf(retention, own).max_age, absl::Hours(1));
  retention.set_max_bytes(0);
  EXPECT_EQ(BudgetOf(retention, own).max_bytes, 0) << "any number is something said";
  EXPECT_EQ(BudgetOf(retention, own).max_age, absl::Hours(1));
  retention.mutable_max_age()->set_seconds(1);
  retention.mutable_max_age()->set_nanos(500'000'000);
  EXPECT_EQ(BudgetOf(retention, own).max_age, absl::Milliseconds(1500));
  EXPECT_EQ(ToRetention(BudgetOf(retention, own)).SerializeAsString(), retention.SerializeAsString());
}

TEST(UsageMessagesTest, TellsOfAJobWhatThereIs) {
  JobUsage usage;
  usage.report_bytes = 1;
  usage.range_bytes = 2;
  usage.budget.max_bytes = 3;
  const v1::StatisticsUsage message = ToStatisticsUsage(usage);
  EXPECT_EQ(message.report_bytes(), 1);
  EXPECT_EQ(message.range_bytes(), 2);
  EXPECT_FALSE(message.has_first_step());
  EXPECT_EQ(message.retention().max_bytes(), 3);
  EXPECT_TRUE(message.retention().has_max_age()) << "any age is something said";
  usage.first_step = 0;
  EXPECT_TRUE(ToStatisticsUsage(usage).has_first_step());
}

TEST(UsageMessagesTest, TellsSinceWhenNothingIsStoredOnlyIfNothingIs) {
  StoreUsage usage;
  usage.report_bytes = 1;
  usage.range_bytes = 2;
  usage.disk_bytes = 3;
  usage.free_bytes = 4;
  usage.max_bytes = 5;
  usage.job_budget.max_bytes = 6;
  v1::StoreInfo message = ToStoreInfo(usage);
  EXPECT_EQ(message.report_bytes(), 1);
  EXPECT_EQ(message.range_bytes(), 2);
  EXPECT_EQ(message.disk_bytes(), 3);
  EXPECT_EQ(message.free_bytes(), 4);
  EXPECT_EQ(message.max_bytes(), 5);
  EXPECT_EQ(message.job_retention().max_bytes(), 6);
  EXPECT_FALSE(message.has_stopped_since());
  usage.stopped = "the disk is full";
  usage.stopped_since = absl::FromUnixSeconds(7);
  message = ToStoreInfo(usage);
  EXPECT_EQ(message.stopped(), "the disk is full");
  EXPECT_EQ(message.stopped_since().seconds(), 7);
}

}  // namespace
}  // namespace gradwatch::server
