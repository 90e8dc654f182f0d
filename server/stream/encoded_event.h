// Events as all streams carry them: encoded once, as a field that has the same number in every response.
#ifndef GRADWATCH_SERVER_STREAM_ENCODED_EVENT_H_
#define GRADWATCH_SERVER_STREAM_ENCODED_EVENT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "gradwatch/v1/event.pb.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

// What rings count for an entry besides its bytes.
inline constexpr size_t kEntryOverhead = 192;

// One event, with what a filter must know of it.
struct EncodedEvent {
  int64_t number = 0;    // in the log of its job
  int64_t position = 0;  // among the events of all jobs
  std::string job_id;
  bool is_alert = false;
  v1::Severity severity = v1::SEVERITY_UNSPECIFIED;  // of the alert
  SharedBytes bytes;  // the field `events` of WatchJobResponse, WatchAlertsResponse and WatchJobsResponse
};

EncodedEvent EncodeEvent(const v1::Event& event, int64_t position);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_ENCODED_EVENT_H_
