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

// Clipping of one network under settings that may be replaced between steps. Thread-compatible.
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

  const ParameterLayout* const layout_;
  v1::ClipSettings settings_;
  std::vector<TensorLimit> limits_;  // one a segment
};

extern template class Clipper<float>;
extern template class Clipper<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_CLIPPER_H_
