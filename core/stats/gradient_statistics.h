// Measures the gradients of every tensor of a step, once each: all together, or as the tensors become ready.
#ifndef GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_
#define GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_

#include <cstddef>
#include <span>

#include "core/base/workers.h"
#include "core/stats/gradient_cosine.h"
#include "core/stats/step_record.h"
#include "core/tensor/parameter_layout.h"

namespace gradwatch::core {

// Measures `gradients` into record->tensors, of which there must be one a segment, and sums the global norm and the
// non-finite counts of the step. Always measures norm and non-finite counts; all the rest of the gradients with level
// FULL, but the histograms only if record->report_histograms, else they are left alone; nothing with level NONE (then
// the record's norm and counts are 0). Sets record->level; reads record->step.
// `cosine` is null, or compares with the last gradients if it is on and the level is FULL. What the references refer to
// must outlive the measurement. Never allocates. The result depends neither on the order of the tensors nor on threads.
template <typename T>
class GradientMeasurement {
 public:
  GradientMeasurement(const ParameterLayout& layout, std::span<const T> gradients, v1::StatisticsLevel level,
                      GradientCosine<T>* cosine, StepRecord* record);

  // Measures the tensors from `first` to before `end`, whose gradients are complete; each tensor once. A gradient is
  // best measured while it is still in the cache.
  void Measure(size_t first, size_t end);
  // Measures all tensors. Workers, if there are any, share them.
  void MeasureAll(Workers* workers = nullptr);
  // Sums up the step, after all tensors.
  void Finish();

 private:
  // Which of `parts` measures a tensor, so that all have about as much to do.
  int PartOf(const ParameterSegment& segment, int parts) const;
  void MeasureTensor(size_t tensor);

  const ParameterLayout& layout_;
  const std::span<const T> gradients_;
  GradientCosine<T>* const cosine_;
  const bool compare_;  // with the last gradients
  StepRecord* const record_;
};

// All of it at once.
template <typename T>
void MeasureGradients(const ParameterLayout& layout, std::span<const T> gradients, v1::StatisticsLevel level,
                      GradientCosine<T>* cosine, StepRecord* record);

// Measures the histograms of a step that was measured without them, from the same gradients, and sets
// record->report_histograms. With another level than FULL there are none. Never allocates.
template <typename T>
void MeasureHistograms(const ParameterLayout& layout, std::span<const T> gradients, StepRecord* record);

// Fills weight_norm of every tensor, for steps on which no optimizer does; it is NaN or infinite where an element is.
template <typename T>
void MeasureWeights(const ParameterLayout& layout, std::span<const T> parameters, StepRecord* record);

extern template class GradientMeasurement<float>;
extern template class GradientMeasurement<double>;
extern template void MeasureGradients<float>(const ParameterLayout&, std::span<const float>, v1::StatisticsLevel,
                                             GradientCosine<float>*, StepRecord*);
extern template void MeasureGradients<double>(const ParameterLayout&, std::span<const double>, v1::StatisticsLevel,
                                              GradientCosine<double>*, StepRecord*);
extern template void MeasureHistograms<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
extern template void MeasureHistograms<double>(const ParameterLayout&, std::span<const double>, StepRecord*);
extern template void MeasureWeights<float>(const ParameterLayout&, std::span<const float>, StepRecord*);
extern template void MeasureWeights<double>(const ParameterLayout&, std::span<const double>, StepRecord*);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_GRADIENT_STATISTICS_H_
