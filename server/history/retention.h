// Which blocks of statistics go, so that what is kept stays within its budgets. Pure.
#ifndef GRADWATCH_SERVER_HISTORY_RETENTION_H_
#define GRADWATCH_SERVER_HISTORY_RETENTION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace gradwatch::server {

// What is kept of one job at most.
struct RetentionBudget {
  int64_t max_bytes = 0;                          // 0: any number
  absl::Duration max_age = absl::ZeroDuration();  // 0: any
};

// What goes as a whole: a batch of reports, or a row of tiers.
struct RetainedBlock {
  int32_t attempt = 0;
  int64_t first_step = 0;
  int64_t last_step = 0;
  int64_t bytes = 0;
  absl::Time stored;
};

// Steps that are kept as long as there is anything else to drop, such as those around an alert.
struct ProtectedRange {
  int32_t attempt = 0;
  int64_t first_step = 0;
  int64_t last_step = 0;
};

struct RetainedJob {
  RetentionBudget budget;
  std::vector<RetainedBlock> blocks;  // in any order
  std::vector<ProtectedRange> protected_ranges;
};

struct DroppedBlock {
  size_t job = 0;    // by its place
  size_t block = 0;  // by its place in the job
  bool is_protected = false;

  friend bool operator==(const DroppedBlock&, const DroppedBlock&) = default;
};

// The blocks to drop, in this order: those that are too old; then, where a job or all of them together are over their
// bytes (`max_bytes`; 0: any number), the oldest until they are 1/40 below, so that the next block does not bring the
// next call to drop one. Protected ones go last, by bytes alone, and only until the budget is kept.
std::vector<DroppedBlock> BlocksToDrop(absl::Span<const RetainedJob> jobs, int64_t max_bytes, absl::Time now);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_RETENTION_H_
