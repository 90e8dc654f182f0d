// Questions about statistics: the request checked and read, the answer as a page.
#ifndef GRADWATCH_SERVER_API_STATISTICS_ANSWER_H_
#define GRADWATCH_SERVER_API_STATISTICS_ANSWER_H_

#include "absl/status/statusor.h"
#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

// Answers a question about `job`, which it names. Reads the disk. Errors as WatchService.QueryStatistics says, and the
// store's.
absl::StatusOr<v1::QueryStatisticsResponse> QueryStatistics(StatisticsStore* store, const v1::Job& job,
                                                            const v1::QueryStatisticsRequest& request);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_STATISTICS_ANSWER_H_
