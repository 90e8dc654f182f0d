#include "server/history/usage_messages.h"

#include "core/base/timestamp.h"

namespace gradwatch::server {

RetentionBudget BudgetOf(const v1::Retention& retention, const RetentionBudget& otherwise) {
  RetentionBudget budget = otherwise;
  if (retention.has_max_bytes()) budget.max_bytes = retention.max_bytes();
  if (retention.has_max_age()) {
    budget.max_age = absl::Seconds(retention.max_age().seconds()) + absl::Nanoseconds(retention.max_age().nanos());
  }
  return budget;
}

v1::Retention ToRetention(const RetentionBudget& budget) {
  v1::Retention retention;
  retention.set_max_bytes(budget.max_bytes);
  absl::Duration rest;
  retention.mutable_max_age()->set_seconds(absl::IDivDuration(budget.max_age, absl::Seconds(1), &rest));
  retention.mutable_max_age()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return retention;
}

v1::StatisticsUsage ToStatisticsUsage(const JobUsage& usage) {
  v1::StatisticsUsage message;
  message.set_report_bytes(usage.report_bytes);
  message.set_range_bytes(usage.range_bytes);
  if (usage.first_step.has_value()) message.set_first_step(*usage.first_step);
  *message.mutable_retention() = ToRetention(usage.budget);
  return message;
}

v1::StoreInfo ToStoreInfo(const StoreUsage& usage) {
  v1::StoreInfo message;
  message.set_report_bytes(usage.report_bytes);
  message.set_range_bytes(usage.range_bytes);
  message.set_disk_bytes(usage.disk_bytes);
  message.set_max_bytes(usage.max_bytes);
  *message.mutable_job_retention() = ToRetention(usage.job_budget);
  message.set_free_bytes(usage.free_bytes);
  if (usage.stopped.empty()) return message;
  message.set_stopped(usage.stopped);
  *message.mutable_stopped_since() = core::ToTimestamp(usage.stopped_since);
  return message;
}

}  // namespace gradwatch::server
