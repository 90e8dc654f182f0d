// Where a watch of a job starts, and what it lets through: the request read and checked.
#ifndef GRADWATCH_SERVER_API_WATCH_START_H_
#define GRADWATCH_SERVER_API_WATCH_START_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/stream/job_channel.h"
#include "server/stream/watch_filter.h"

namespace gradwatch::server {

// Errors of all these as WatchService.WatchJob says.
absl::StatusOr<WatchFilter> ReadWatchFilter(const v1::WatchJobRequest& request);
// The names of Job.tensors; empty: they are not known yet.
std::vector<std::string> TensorNames(const v1::Job& job);
// Whether each glob of `filter` matches some tensor, where the names are known.
absl::Status CheckGlobs(const WatchFilter& filter, const std::vector<std::string>& names);
// `job` and `end`: the job, and where its log ends now. Whatever is given here can be brought back as a token.
absl::StatusOr<WatchCursor> ReadWatchStart(const v1::WatchJobRequest& request, const WatchFilter& filter,
                                           const v1::Job& job, const WatchCursor& end, const std::string& log_epoch);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_WATCH_START_H_
