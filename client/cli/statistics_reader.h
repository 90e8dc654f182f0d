// Answers to questions about statistics, of which a server gives a page at once.
#ifndef GRADWATCH_CLIENT_CLI_STATISTICS_READER_H_
#define GRADWATCH_CLIENT_CLI_STATISTICS_READER_H_

#include "absl/status/statusor.h"
#include "client/cli/session.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::cli {

// All pages as one answer, with a page token only where there are more histograms than about 10,000. Begins anew where
// what is stored changes between them so that points do; ABORTED: again and again. Other errors as the call's.
absl::StatusOr<v1::QueryStatisticsResponse> ReadStatistics(const Session& session, v1::QueryStatisticsRequest request);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_STATISTICS_READER_H_
