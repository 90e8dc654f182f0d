// What is stored and streamed of steps, as bytes: fields `reports` and `lost` of a serialised WatchJobResponse, one
// after the other; and what becomes of entries that are about the same steps.
#ifndef GRADWATCH_SERVER_STORE_REPORT_CODEC_H_
#define GRADWATCH_SERVER_STORE_REPORT_CODEC_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/store/statistics_store.h"

namespace gradwatch::server {

// Attempt and steps are those of the message.
EncodedReport EncodeReport(const v1::StepReport& report);
EncodedReport EncodeLost(const v1::StatisticsLost& lost);
EncodedReport EncodeLost(int32_t attempt, int64_t first_step, int64_t last_step, absl::string_view reason);

// The message in the bytes of one EncodedReport. DATA_LOSS: they are not one.
absl::StatusOr<v1::StepReport> DecodeReport(absl::string_view bytes);
absl::StatusOr<v1::StatisticsLost> DecodeLost(absl::string_view bytes);

// Splits bytes of entries of one attempt, of both kinds, that were written one after the other. DATA_LOSS: they are not
// such entries.
absl::StatusOr<std::vector<EncodedReport>> SplitReports(int32_t attempt, absl::string_view bytes);

// The part of a lost range between the two steps, of which it has at least one.
EncodedReport CutLost(const EncodedReport& lost, int64_t first_step, int64_t last_step);

// What holds of one attempt when `fresh` is stored over `old`, in the order of steps: fresh reports, else old ones,
// else fresh lost ranges, else old ones, each cut to the steps that are left.
std::vector<EncodedReport> MergeReports(const std::vector<EncodedReport>& old, const std::vector<EncodedReport>& fresh);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_REPORT_CODEC_H_
