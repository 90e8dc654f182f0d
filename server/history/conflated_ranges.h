// Conflated streams: closed ranges of steps with what happened in them, for who reads seldom or slowly. Made of reports
// that are still in memory, or of what is stored, by the same cuts and the same sums.
#ifndef GRADWATCH_SERVER_HISTORY_CONFLATED_RANGES_H_
#define GRADWATCH_SERVER_HISTORY_CONFLATED_RANGES_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/statistics_query.h"
#include "server/history/step_ranges.h"
#include "server/history/tiers.h"

namespace gradwatch::server {

// What a conflated stream tells of a report.
struct StepFigures {
  int64_t step = 0;
  double loss = 0;
  std::optional<double> grad_norm;
  bool gradient_is_finite = true;  // every element of every gradient
};
StepFigures FiguresOf(const v1::StepReport& report);

// What v1::ConflatedPoint tells but for the last report.
struct ConflatedRange {
  StepRange steps;
  Bucket loss, grad_norm;
  int64_t non_finite_steps = 0;  // with a loss or a gradient that is not finite
};

// The last step before a multiple of `unit`, up to `step`; of every 1, the step.
inline int64_t LastClosed(int64_t step, int64_t unit) { return (step + 1) / unit * unit - 1; }

// Makes ranges of the reports of one attempt, which lie in `steps` and come in their order: at most `max_ranges` (from
// 1), cut at multiples of `unit`. Ranges without a report are left out.
class RangeMaker {
 public:
  RangeMaker(const StepRange& steps, int64_t max_ranges, int64_t unit = 1);
  // Returns whether a range begins with it.
  bool Add(const StepFigures& report);
  std::vector<ConflatedRange> TakeRanges() { return std::move(ranges_); }

 private:
  const StepRange steps_;
  const int64_t width_;
  int64_t last_point_ = -1;
  std::vector<ConflatedRange> ranges_;
};
// The ranges of these reports, from the first to the last of them.
std::vector<ConflatedRange> Conflate(std::span<const StepFigures> reports, int64_t max_ranges, int64_t unit = 1);

// What is stored of some steps.
struct StoredRanges {
  // The last of these steps that this is about: that is kept on some level, or lost; below the first of them: none is.
  int64_t last_step = -1;
  std::vector<ConflatedRange> ranges;
  // Of these steps, also those that a range has something of; not those whose reports alone were dropped: the ranges
  // have all of them.
  std::vector<LostSteps> lost;
};
// The same of what is stored of these steps, at most `max_ranges` (from 1), cut at multiples of `unit`, too. Ranges end
// where the steps do, so that no step counts in two questions that follow one another; only where nothing fine enough
// is kept at an end or a cut they are rounded outwards. It ends before more than `max_lost` (from 1) are lost, at a
// multiple of `unit` if there is one. Errors as AnswerQuestion.
absl::StatusOr<StoredRanges> ConflateStored(const StepRange& steps, int64_t max_ranges, BlockSource* source,
                                            int64_t unit = 1, int64_t max_lost = std::numeric_limits<int64_t>::max());

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_CONFLATED_RANGES_H_
