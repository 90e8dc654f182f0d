// Lists jobs by pages.
#ifndef GRADWATCH_SERVER_JOB_JOB_LISTING_H_
#define GRADWATCH_SERVER_JOB_JOB_LISTING_H_

#include "absl/status/statusor.h"
#include "gradwatch/v1/job_service.pb.h"
#include "server/job/job_table.h"

namespace gradwatch::server {

// Errors as JobService.ListJobs says. Thread-safe.
absl::StatusOr<v1::ListJobsResponse> ListJobs(const JobTable& table, const v1::ListJobsRequest& request);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_LISTING_H_
