// What the store says of itself, and how much it is to keep, as the protocol has it.
#ifndef GRADWATCH_SERVER_HISTORY_USAGE_MESSAGES_H_
#define GRADWATCH_SERVER_HISTORY_USAGE_MESSAGES_H_

#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/job_service.pb.h"
#include "server/history/retention.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

// What a valid `retention` asks for; `otherwise` where it says nothing.
RetentionBudget BudgetOf(const v1::Retention& retention, const RetentionBudget& otherwise);

// Both fields are set.
v1::Retention ToRetention(const RetentionBudget& budget);
v1::StatisticsUsage ToStatisticsUsage(const JobUsage& usage);
v1::StoreInfo ToStoreInfo(const StoreUsage& usage);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_USAGE_MESSAGES_H_
