#include "core/stats/gradient_statistics.h"

#include <algorithm>
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

// Which of `parts` measures a tensor, so that all have about as much to do.
int PartOf(const ParameterLayout& layout, const ParameterSegment& segment, int parts) {
  return static_cast<int>((segment.offset + segment.size / 2) * parts / layout.arena_size());
}

// Measures one tensor after the other.
template <typename T>
class TensorMeasurer {
 public:
  // `cosine` is null unless it is to be filled.
  TensorMeasurer(std::span<const T> gradients, GradientCosine<T>* cosine, StepRecord* record)
      : gradients_(gradients), cosine_(cosine), record_(record), pass_{.step = record->step, .counter = &counter_} {}

  void Measure(size_t tensor, const ParameterSegment& segment) {
    TensorStatistics* const statistics = &record_->tensors[tensor];
    const auto gradient = gradients_.subspan(segment.offset, segment.size);
    if (record_->level == v1::STATISTICS_LEVEL_FULL) {
      if (cosine_ != nullptr) pass_.last_gradient = cosine_->LastGradient(tensor);
      MeasureFull(gradient, &pass_, statistics);
      if (cosine_ != nullptr) cosine_->FillTensor(tensor, pass_.dot, statistics);
    } else if (record_->level == v1::STATISTICS_LEVEL_NORM) {
      MeasureNorm(gradient, statistics);
    } else {
      *statistics = TensorStatistics();
    }
  }

 private:
  const std::span<const T> gradients_;
  GradientCosine<T>* const cosine_;
  StepRecord* const record_;
  ExponentCounter counter_;
  FullPass<T> pass_;
};

}  // namespace

template <typename T>
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, v1::StatisticsLevel level,
                      GradientCosine<T>* cosine, StepRecord* record, Workers* workers) {
  constexpr int64_t kMinElements = 1 << 18;  // that are worth a thread
  const bool full = level != v1::STATISTICS_LEVEL_NONE && level != v1::STATISTICS_LEVEL_NORM;
  const bool compare = full && cosine != nullptr && cosine->is_on();
  record->level = full ? v1::STATISTICS_LEVEL_FULL : level;
  record->grad_norm = 0;
  record->nan_count = record->pos_inf_count = record->neg_inf_count = 0;
  record->cosine_with_last = std::numeric_limits<double>::quiet_NaN();
  const int64_t threads = workers == nullptr ? 1 : workers->threads();
  const int parts = static_cast<int>(std::clamp<int64_t>(layout.arena_size() / kMinElements, 1, threads));
  RunParts(workers, parts, [&](int part) {
    TensorMeasurer<T> measurer(gradients, compare ? cosine : nullptr, record);
    for (size_t i = 0; i < record->tensors.size(); ++i) {
      const ParameterSegment& segment = layout.segments()[i];
      if (PartOf(layout, segment, parts) == part) measurer.Measure(i, segment);
    }
  });
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
                                      GradientCosine<float>*, StepRecord*, Workers*);
template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, v1::StatisticsLevel,
                                       GradientCosine<double>*, StepRecord*, Workers*);
template void MeasureWeights<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
template void MeasureWeights<double>(const ParameterLayout&, std::span<const double>, StepRecord*);

}  // namespace gradwatch::core
