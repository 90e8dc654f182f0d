// A batch of reports by columns: all losses together, all norms of a tensor together, and so on. What comes out is what
// went in, to the last bit.
#ifndef GRADWATCH_SERVER_HISTORY_REPORT_BATCH_H_
#define GRADWATCH_SERVER_HISTORY_REPORT_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/report_columns.h"

namespace gradwatch::server {

// What a batch holds at most; the encoder says when it is full.
inline constexpr size_t kMaxBatchReports = 4096;
inline constexpr size_t kMaxBatchTensors = size_t{1} << 18;  // statistics of tensors of all reports together

// zstd's: what is stored for good.
inline constexpr int kBatchLevel = 3;

// Collects reports. Not thread-safe.
class ReportBatchEncoder {
 public:
  ReportBatchEncoder();
  ~ReportBatchEncoder();
  ReportBatchEncoder(ReportBatchEncoder&&) noexcept;
  ReportBatchEncoder& operator=(ReportBatchEncoder&&) noexcept;

  // Adds a report; any order of steps will do, but rising ones need the fewest bytes. False: it does not fit any more,
  // and nothing was added. One report always fits an empty batch.
  [[nodiscard]] bool Add(const v1::StepReport& report);
  size_t reports() const;
  // What was added, in that order.
  const ReportColumns& columns() const { return *columns_; }
  // About what it occupies.
  size_t memory_bytes() const;
  // Calls for every report, or what is wanted of it, in the order in which they were added.
  void ForEach(const ReportChoice& choice, absl::FunctionRef<void(const v1::StepReport&)> each) const;
  // The batch with its checksum.
  std::string Encode(int level = kBatchLevel) const;
  // The same; leaves the encoder empty.
  std::string Finish(int level = kBatchLevel);

 private:
  std::unique_ptr<ReportColumns> columns_;
};

// Checks the checksum and calls `each` for every report in the order in which they were added; the report is valid
// during the call. DATA_LOSS, reason LOG_CORRUPT: it is not a batch that was written so; `each` may have been called
// for reports that are none only where somebody has made a checksum that fits.
absl::Status DecodeReports(absl::string_view batch, absl::FunctionRef<void(const v1::StepReport&)> each);
// As above, but only what is wanted of them, at the cost of that: columns that are not are passed over, and of those
// that are, pieces without a wanted tensor. They may have more than is wanted.
absl::Status DecodeReports(absl::string_view batch, const ReportChoice& choice,
                           absl::FunctionRef<void(const v1::StepReport&)> each);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_REPORT_BATCH_H_
