// The series of a job by name: "loss", "tensor/rnn0.weight/norm", "layer/activation1/saturated".
#ifndef GRADWATCH_SERVER_HISTORY_SERIES_H_
#define GRADWATCH_SERVER_HISTORY_SERIES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/history/report_columns.h"
#include "server/history/tiers.h"

namespace gradwatch::server {

// What a job's series are named after: tensors by TensorStats.tensor, layers in the order of StepReport.layers.
struct SeriesNames {
  std::vector<std::string> tensors, layers;
};

struct Series {
  TierGroup group = TierGroup::kJob;
  uint32_t index = 0;  // in its group
  std::string name;
};

constexpr bool IsOfTensors(TierGroup group) {
  return group >= TierGroup::kTensorNorm && group <= TierGroup::kTensorMean;
}

// The series whose names match one of the globs, by group, then index; the job's own, if there are no globs.
// INVALID_ARGUMENT, field series[i]: a glob matches none of a job whose tensors are known.
absl::StatusOr<std::vector<Series>> FindSeries(const std::vector<std::string>& globs, const SeriesNames& names);

// What of a report the series are made of.
ReportChoice ChoiceFor(absl::Span<const Series> series);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_SERIES_H_
