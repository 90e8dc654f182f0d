// Limits gradients before the optimizer sees them, and says what it did. Never multiplies by a non-finite number.
#ifndef GRADWATCH_CORE_CLIP_CLIPPER_H_
#define GRADWATCH_CORE_CLIP_CLIPPER_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/stats/step_record.h"
#include "core/tensor/parameter_layout.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Checks ClipSettings: modes served, thresholds finite and above 0, globs. Violations are relative to the settings
// ("threshold"). Needs no network; the server uses it too.
absl::Status ValidateClipSettings(const v1::ClipSettings& settings);

// Valid settings with every default filled in.
v1::ClipSettings ResolveClipSettings(const v1::ClipSettings& settings);

// Clipping of one network under settings that may be replaced between steps. Thread-compatible.
//
// GLOBAL_NORM (Pascanu, Mikolov, Bengio 2013, algorithm 1): g *= threshold / norm if norm > threshold, where norm is
// that of all tensors without a limit of their own; with pytorch_compatible g *= min(1, threshold / (norm + 1e-6)).
// TENSOR_NORM: the same for each tensor by itself, without the 1e-6. VALUE: g_i is clamped to [-threshold, threshold].
// Norms come measured in double, so they cannot overflow; each element is scaled in double and rounded once. Afterwards
// a limited norm is at most threshold * (1 + 4 eps), eps being that of T.
template <typename T>
class Clipper {
 public:
  // `layout` must outlive the clipper.
  explicit Clipper(const ParameterLayout* layout);

  // Takes settings that ValidateClipSettings accepts. Resolves globs; may allocate.
  void Configure(const v1::ClipSettings& settings);

  // Clips `gradients` in place. `record` holds the measured norms and non-finite counts of these gradients (level NORM
  // or FULL); fills record->clip. The caller skips the update when the action is SKIPPED or STOPPED. Never allocates.
  void Apply(std::span<T> gradients, StepRecord* record) const;

 private:
  struct TensorLimit {
    v1::ClipMode mode = v1::CLIP_MODE_NONE;
    double threshold = 0;
  };

  double GlobalCoefficient(const StepRecord& record) const;
  double ApplyLimits(std::span<T> gradients, double global_coefficient, StepRecord* record) const;

  const ParameterLayout* const layout_;
  v1::ClipSettings settings_;
  std::vector<TensorLimit> limits_;  // one a segment
};

extern template class Clipper<float>;
extern template class Clipper<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_CLIPPER_H_
