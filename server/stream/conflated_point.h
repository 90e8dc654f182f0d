// Points of conflated streams as bytes, made of the bytes of reports.
#ifndef GRADWATCH_SERVER_STREAM_CONFLATED_POINT_H_
#define GRADWATCH_SERVER_STREAM_CONFLATED_POINT_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "server/base/encoding.h"
#include "server/history/conflated_ranges.h"
#include "server/history/encoded_report.h"

namespace gradwatch::server {

// What a conflated stream tells of a report, read from its bytes at the cost of these few fields. What cannot be read
// counts as not finite: it is never hidden.
StepFigures ReadFigures(const EncodedReport& report);

// The field `points` of a WatchJobResponse. `last_report`: its last report, as the field `reports`; empty: it is not
// told.
SharedBytes EncodePoint(int32_t attempt, const ConflatedRange& range, absl::string_view last_report);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_CONFLATED_POINT_H_
