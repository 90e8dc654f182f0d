// What is stored of an attempt of a job, for questions.
#ifndef GRADWATCH_SERVER_HISTORY_JOB_SOURCE_H_
#define GRADWATCH_SERVER_HISTORY_JOB_SOURCE_H_

#include <cstdint>
#include <memory>

#include "server/history/job_history.h"
#include "server/history/statistics_query.h"

namespace gradwatch::server {

// As it is now; see StatisticsStore::Source.
std::unique_ptr<BlockSource> MakeJobSource(std::shared_ptr<JobHistory> job, int32_t attempt);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_JOB_SOURCE_H_
