// Lists by pages that a client can take: by number and by bytes.
#ifndef GRADWATCH_SERVER_API_LISTS_H_
#define GRADWATCH_SERVER_API_LISTS_H_

#include "absl/status/statusor.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/store/ledger.h"
#include "server/stream/job_channel.h"

namespace gradwatch::server {

// Errors as AlertService.ListAlerts says.
absl::StatusOr<v1::ListAlertsResponse> ListAlerts(LedgerReader* reader, const v1::ListAlertsRequest& request);
// Errors as WatchService.ListEvents says; `channel` is that of the job.
absl::StatusOr<v1::ListEventsResponse> ListEvents(LedgerReader* reader, const JobChannel& channel,
                                                  const v1::ListEventsRequest& request);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_LISTS_H_
