#include "core/stats/gradient_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/stats/norm_sum.h"
#include "core/stats/tensor_statistics.h"
#include "core/stats/vector_sums.h"

namespace gradwatch::core {
namespace {

// The default too.
bool IsFull(v1::StatisticsLevel level) {
  return level != v1::STATISTICS_LEVEL_NONE && level != v1::STATISTICS_LEVEL_NORM;
}

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
GradientMeasurement<T>::GradientMeasurement(const ParameterLayout& layout, std::span<const T> gradients,
                                            v1::StatisticsLevel level, GradientCosine<T>* cosine, StepRecord* record)
    : layout_(layout),
      gradients_(gradients),
      cosine_(cosine),
      compare_(cosine != nullptr && cosine->is_on() && IsFull(level)),
      record_(record) {
  record->level = IsFull(level) ? v1::STATISTICS_LEVEL_FULL : level;
  record->grad_norm = 0;
  record->nan_count = record->pos_inf_count = record->neg_inf_count = 0;
  record->cosine_with_last = std::numeric_limits<double>::quiet_NaN();
}

template <typename T>
void GradientMeasurement<T>::MeasureTensor(size_t tensor) {
  TensorStatistics* const statistics = &record_->tensors[tensor];
  const ParameterSegment& segment = layout_.segments()[tensor];
  const auto gradient = gradients_.subspan(segment.offset, segment.size);
  if (record_->level == v1::STATISTICS_LEVEL_FULL) {
    FullPass<T> pass = {.step = record_->step, .counts_exponents = record_->report_histograms};
    if (compare_) pass.last_gradient = cosine_->LastGradient(tensor);
    MeasureFull(gradient, &pass, statistics);
    if (compare_) cosine_->FillTensor(tensor, pass.dot, statistics);
  } else if (record_->level == v1::STATISTICS_LEVEL_NORM) {
    MeasureNorm(gradient, statistics);
  } else {
    *statistics = TensorStatistics();
  }
}

template <typename T>
void GradientMeasurement<T>::Measure(size_t first, size_t end) {
  for (size_t i = first; i < end; ++i) MeasureTensor(i);
}

template <typename T>
int GradientMeasurement<T>::PartOf(const ParameterSegment& segment, int parts) const {
  return static_cast<int>((segment.offset + segment.size / 2) * parts / layout_.arena_size());
}

template <typename T>
void GradientMeasurement<T>::MeasureAll(Workers* workers) {
  constexpr int64_t kMinElements = 1 << 18;  // that are worth a thread
  const int64_t threads = workers == nullptr ? 1 : workers->threads();
  const int parts = static_cast<int>(std::clamp<int64_t>(layout_.arena_size() / kMinElements, 1, threads));
  RunParts(workers, parts, [&](int part) {
    for (size_t i = 0; i < record_->tensors.size(); ++i) {
      if (PartOf(layout_.segments()[i], parts) == part) MeasureTensor(i);
    }
  });
}

template <typename T>
void GradientMeasurement<T>::Finish() {
  SumTensors(record_);
  if (compare_) {
    cosine_->FillStep(record_);
  } else if (cosine_ != nullptr) {
    cosine_->Forget();
  }
}

template <typename T>
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, v1::StatisticsLevel level,
                      GradientCosine<T>* cosine, StepRecord* record) {
  GradientMeasurement<T> measurement(layout, gradients, level, cosine, record);
  measurement.MeasureAll();
  measurement.Finish();
}

template <typename T>
void MeasureHistograms(const ParameterLayout& layout, std::span<const T> gradients, StepRecord* record) {
  record->report_histograms = true;
  if (!IsFull(record->level)) return;
  for (size_t i = 0; i < record->tensors.size(); ++i) {
    const ParameterSegment& segment = layout.segments()[i];
    MeasureHistogram(gradients.subspan(segment.offset, segment.size), record->step, &record->tensors[i]);
  }
}

template <typename T>
void MeasureWeights(const ParameterLayout& layout, std::span<const T> parameters, StepRecord* record) {
  for (size_t i = 0; i < record->tensors.size(); ++i) {
    const ParameterSegment& segment = layout.segments()[i];
    record->tensors[i].weight_norm = std::sqrt(SumOfSquares(parameters.data() + segment.offset, segment.size));
  }
}

template class GradientMeasurement<float>;
template class GradientMeasurement<double>;
template void MeasureGradients<float>(const ParameterLayout&, std::span<const float>, v1::StatisticsLevel,
                                      GradientCosine<float>*, StepRecord*);
template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, v1::StatisticsLevel,
                                       GradientCosine<double>*, StepRecord*);
template void MeasureHistograms<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
template void MeasureHistograms<double>(const ParameterLayout&, std::span<const double>, StepRecord*);
template void MeasureWeights<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
template void MeasureWeights<double>(const ParameterLayout&, std::span<const double>, StepRecord*);

}  // namespace gradwatch::core
