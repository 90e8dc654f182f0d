// The angle between the gradients of two steps in a row, from a copy of the last ones.
#ifndef GRADWATCH_CORE_STATS_GRADIENT_COSINE_H_
#define GRADWATCH_CORE_STATS_GRADIENT_COSINE_H_

#include <cstdint>
#include <vector>

#include "core/stats/step_record.h"
#include "core/tensor/arena.h"
#include "core/tensor/parameter_layout.h"

namespace gradwatch::core {

// cos = <g, last> / (|g| |last|), of each tensor and of all of them. It is unknown (NaN) on the first step, after a
// step that Forget was called on, where either gradient is zero, and where either held a NaN or an infinity.
// Persistently below -0.5 the steps oscillate: the learning rate is too large. Near 0 the gradients are mostly noise.
//
// Costs one arena while it is switched on. Thread-compatible.
template <typename T>
class GradientCosine {
 public:
  // `layout` must outlive it. It is off at first.
  explicit GradientCosine(const ParameterLayout* layout) : layout_(layout) {}

  // Bytes that Switch takes: for the copy of an arena of so many elements, and for the norms of the tensors.
  static int64_t CopyBytes(int64_t arena_size) { return arena_size * static_cast<int64_t>(sizeof(T)); }
  static int64_t NormBytes(int64_t tensors) { return 2 * tensors * static_cast<int64_t>(sizeof(double)); }
  // Takes or gives back the memory of the copy; between two steps.
  void Switch(bool on);
  bool is_on() const { return !last_norms_.empty(); }
  // The last gradients are none to compare with: they were not used, or there are none.
  void Forget();

  // Where the last gradient of a tensor is kept. Whoever measures replaces it.
  T* LastGradient(size_t tensor) { return last_.data() + layout_->segments()[tensor].offset; }
  // Fills the cosine of a tensor that is measured otherwise; `dot` is the sum of products of its gradient and its last.
  // Different tensors may be filled side by side.
  void FillTensor(size_t tensor, double dot, TensorStatistics* statistics);
  // Fills the cosine of the step, after those of all tensors and the sums of the step.
  void FillStep(StepRecord* record);

 private:
  const ParameterLayout* const layout_;
  Arena<T> last_;
  // Norms of the last gradients, of each tensor and of all; 0: nothing to compare with.
  std::vector<double> last_norms_;
  double last_norm_ = 0;
  std::vector<double> dots_;  // of the tensors of this step
};

extern template class GradientCosine<float>;
extern template class GradientCosine<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_GRADIENT_COSINE_H_
