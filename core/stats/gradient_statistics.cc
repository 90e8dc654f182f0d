#include "core/stats/gradient_statistics.h"

#include "core/stats/norm_sum.h"
#include "core/stats/tensor_statistics.h"

namespace gradwatch::core {
namespace {

// Sums the tensors' norms and counts into those of the step.
void SumTensors(StepRecord* record) {
  NormSum norm;
  for (const TensorStatistics& tensor : record->tensors) {
    norm.Add(tensor.l2_norm);
    record->nan_count += tensor.nan_count;
    record->pos_inf_count += tensor.pos_inf_count;
    record->neg_inf_count += tensor.neg_inf_count;
  }
  record->grad_norm = norm.Norm();
}

}  // namespace

template <typename T>
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, std::span<const T> parameters,
                      v1::StatisticsLevel level, StepRecord* record) {
  const bool full = level != v1::STATISTICS_LEVEL_NONE && level != v1::STATISTICS_LEVEL_NORM;
  record->level = full ? v1::STATISTICS_LEVEL_FULL : level;
  record->grad_norm = 0;
  record->nan_count = record->pos_inf_count = record->neg_inf_count = 0;
  for (size_t i = 0; i < record->tensors.size(); ++i) {
    const ParameterSegment& segment = layout.segments()[i];
    TensorStatistics* statistics = &record->tensors[i];
    const auto gradient = gradients.subspan(segment.offset, segment.size);
    if (full) {
      MeasureFull(gradient, parameters.subspan(segment.offset, segment.size), statistics);
    } else if (level == v1::STATISTICS_LEVEL_NORM) {
      MeasureNorm(gradient, statistics);
    } else {
      *statistics = TensorStatistics();
    }
  }
  SumTensors(record);
}

template void MeasureGradients<float>(const ParameterLayout&, std::span<const float>, std::span<const float>,
                                      v1::StatisticsLevel, StepRecord*);
template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, std::span<const double>,
                                       v1::StatisticsLevel, StepRecord*);

}  // namespace gradwatch::core
