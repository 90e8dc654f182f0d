#include "core/stats/gradient_statistics.h"

#include <cmath>
#include <limits>

#include "core/stats/norm_sum.h"
#include "core/stats/tensor_statistics.h"
#include "core/stats/vector_sums.h"

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
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, v1::StatisticsLevel level,
                      GradientCosine<T>* cosine, StepRecord* record) {
  const bool full = level != v1::STATISTICS_LEVEL_NONE && level != v1::STATISTICS_LEVEL_NORM;
  const bool compare = full && cosine != nullptr && cosine->is_on();
  record->level = full ? v1::STATISTICS_LEVEL_FULL : level;
  record->grad_norm = 0;
  record->nan_count = record->pos_inf_count = record->neg_inf_count = 0;
  record->cosine_with_last = std::numeric_limits<double>::quiet_NaN();
  ExponentCounter counter;
  FullPass<T> pass = {.step = record->step, .counter = &counter};
  for (size_t i = 0; i < record->tensors.size(); ++i) {
    const ParameterSegment& segment = layout.segments()[i];
    TensorStatistics* statistics = &record->tensors[i];
    const auto gradient = gradients.subspan(segment.offset, segment.size);
    if (full) {
      if (compare) pass.last_gradient = cosine->LastGradient(i);
      MeasureFull(gradient, &pass, statistics);
      if (compare) cosine->FillTensor(i, pass.dot, statistics);
    } else if (level == v1::STATISTICS_LEVEL_NORM) {
      MeasureNorm(gradient, statistics);
    } else {
      *statistics = TensorStatistics();
    }
  }
  SumTensors(record);
  if (compare) {
    cosine->FillStep(record);
  } else if (cosine != nullptr) {
    cosine->Forget();
  }
}

template <typename T>
void MeasureWeights(const ParameterLayout& layout, std::span<const T> parameters, StepRecord* record) {
  for (size_t i = 0; i < record->tensors.size(); ++i) {
    const ParameterSegment& segment = layout.segments()[i];
    record->tensors[i].weight_norm = std::sqrt(SumOfSquares(parameters.data() + segment.offset, segment.size));
  }
}

template void MeasureGradients<float>(const ParameterLayout&, std::span<const float>, v1::StatisticsLevel,
                                      GradientCosine<float>*, StepRecord*);
template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, v1::StatisticsLevel,
                                       GradientCosine<double>*, StepRecord*);
template void MeasureWeights<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
template void MeasureWeights<double>(const ParameterLayout&, std::span<const double>, StepRecord*);

}  // namespace gradwatch::core
