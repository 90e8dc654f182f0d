// What is stored and streamed of steps, as bytes: fields `reports` and `lost` of a serialised WatchJobResponse, one
// after the other; and what becomes of entries that are about the same steps.
#ifndef GRADWATCH_SERVER_HISTORY_ENCODED_REPORT_H_
#define GRADWATCH_SERVER_HISTORY_ENCODED_REPORT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

// How the reason of a lost range begins that stands for what was damaged, or has vanished, in the store.
inline constexpr char kDamagedReason[] = "what was stored is damaged";
// The reason of one whose reports went to keep a budget.
inline constexpr char kDroppedReason[] = "the reports were dropped to keep the budget of statistics";

// What is stored and streamed of a closed range of steps of one attempt: a report (the field `reports` of a serialised
// WatchJobResponse; first_step is step), or a range whose statistics are lost (the field `lost`), so that a batch of
// them is a message by mere concatenation.
struct EncodedReport {
  int32_t attempt = 0;
  int64_t step = 0;  // the last
  int64_t first_step = 0;
  bool lost = false;
  SharedBytes bytes;
  // What is in the bytes, for the store, which need not read them then; null: it reads them. Never in what it gives.
  std::shared_ptr<const v1::StepReport> report = nullptr;
};

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

#endif  // GRADWATCH_SERVER_HISTORY_ENCODED_REPORT_H_
