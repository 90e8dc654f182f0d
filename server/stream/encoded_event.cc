#include "server/stream/encoded_event.h"

#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::server {

constexpr int kField = v1::WatchJobResponse::kEventsFieldNumber;
static_assert(kField == v1::WatchAlertsResponse::kEventsFieldNumber);
static_assert(kField == v1::WatchJobsResponse::kEventsFieldNumber);

EncodedEvent EncodeEvent(const v1::Event& event, int64_t position) {
  return {.number = event.number(),
          .position = position,
          .job_id = event.job_id(),
          .is_alert = event.has_alert_changed(),
          .severity = event.alert_changed().alert().severity(),
          .bytes = EncodeField(kField, event)};
}

}  // namespace gradwatch::server
