// Questions about statistics: the request checked and read, the answer as a page.
#ifndef GRADWATCH_SERVER_API_STATISTICS_ANSWER_H_
#define GRADWATCH_SERVER_API_STATISTICS_ANSWER_H_

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

// Answers a question about `job`, which it names. Reads the disk, and asks `wanted` before each read whether to go on.
// Errors as WatchService.QueryStatistics says, the store's, and that of `wanted`.
absl::StatusOr<v1::QueryStatisticsResponse> QueryStatistics(StatisticsStore* store, const v1::Job& job,
                                                            const v1::QueryStatisticsRequest& request,
                                                            absl::FunctionRef<absl::Status()> wanted);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_STATISTICS_ANSWER_H_
