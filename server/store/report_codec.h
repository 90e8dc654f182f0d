// Reports as they are stored and streamed: fields `reports` of a serialised WatchJobResponse, one after the other.
#ifndef GRADWATCH_SERVER_STORE_REPORT_CODEC_H_
#define GRADWATCH_SERVER_STORE_REPORT_CODEC_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/store/statistics_store.h"

namespace gradwatch::server {

// Attempt and step are those of the report.
EncodedReport EncodeReport(const v1::StepReport& report);

// The report in the bytes of one EncodedReport. DATA_LOSS: they are not one.
absl::StatusOr<v1::StepReport> DecodeReport(absl::string_view bytes);

// Splits bytes of reports of one attempt that were written one after the other. DATA_LOSS: they are not reports.
absl::StatusOr<std::vector<EncodedReport>> SplitReports(int32_t attempt, absl::string_view bytes);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_REPORT_CODEC_H_
