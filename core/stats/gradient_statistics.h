// The one pass over the gradient arena that measures every tensor of a step, in double precision.
#ifndef GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_
#define GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_

#include <span>

#include "core/base/workers.h"
#include "core/stats/gradient_cosine.h"
#include "core/stats/step_record.h"
#include "core/tensor/parameter_layout.h"

namespace gradwatch::core {

// Measures `gradients` of every tensor into record->tensors and sums the global norm and the non-finite counts. Always
// measures norm and non-finite counts; all the rest of the gradients with level FULL; nothing with level NONE (then the
// record's norm and counts are 0). Sets record->level; reads record->step. record->tensors must have one element a
// segment. `cosine` is null, or compares with the last gradients if it is on and the level is FULL. Workers, if there
// are any, share the tensors; the result does not depend on them. Never allocates.
template <typename T>
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, v1::StatisticsLevel level,
                      GradientCosine<T>* cosine, StepRecord* record, Workers* workers = nullptr);

// Fills weight_norm of every tensor, for steps on which no optimizer does; it is NaN or infinite where an element is.
template <typename T>
void MeasureWeights(const ParameterLayout& layout, std::span<const T> parameters, StepRecord* record);

extern template void MeasureGradients<float>(const ParameterLayout&, std::span<const float>, v1::StatisticsLevel,
                                             GradientCosine<float>*, StepRecord*, Workers*);
extern template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, v1::StatisticsLevel,
                                              GradientCosine<double>*, StepRecord*, Workers*);
extern template void MeasureWeights<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
extern template void MeasureWeights<double>(const ParameterLayout&, std::span<const double>, StepRecord*);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_
