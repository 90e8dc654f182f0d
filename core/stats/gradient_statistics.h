// The one pass over the gradient arena that measures every tensor of a step, in double precision.
#ifndef GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_
#define GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_

#include <span>

#include "core/stats/step_record.h"
#include "core/tensor/parameter_layout.h"

namespace gradwatch::core {

// Measures `gradients` (and the norms of `parameters`) of every tensor into record->tensors and sums the global norm
// and the non-finite counts. Always measures norm and non-finite counts; all the rest with level FULL; nothing with
// level NONE (then the record's norm and counts are 0). Sets record->level. record->tensors must have one element a
// segment. The result does not depend on threads. Never allocates.
template <typename T>
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, std::span<const T> parameters,
                      v1::StatisticsLevel level, StepRecord* record);

extern template void MeasureGradients<float>(const ParameterLayout&, std::span<const float>, std::span<const float>,
                                             v1::StatisticsLevel, StepRecord*);
extern template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, std::span<const double>,
                                              v1::StatisticsLevel, StepRecord*);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_
