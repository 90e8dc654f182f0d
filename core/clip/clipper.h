// Limits gradients before the optimizer sees them, and says what it did. Never multiplies by a non-finite number.
#ifndef GRADWATCH_CORE_CLIP_CLIPPER_H_
#define GRADWATCH_CORE_CLIP_CLIPPER_H_

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "core/clip/adagc.h"
#include "core/clip/autoclip.h"
#include "core/clip/clip_settings.h"
#include "core/clip/spam.h"
#include "core/clip/zclip.h"
#include "core/stats/step_record.h"
#include "core/tensor/parameter_layout.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// What clipping works on; all laid out like the arenas.
template <typename T>
struct ClipArenas {
  std::span<T> gradients;
  std::span<const T> parameters;     // read by ADAPTIVE
  std::span<const T> second_moment;  // read by SPAM: the optimizer's, before the update; empty: nothing is cut
};

// Clipping of one network under settings that may be replaced between steps. Thread-compatible.
//
// GLOBAL_NORM (Pascanu, Mikolov, Bengio 2013, algorithm 1): g *= threshold / norm if norm > threshold, where norm is
// that of all tensors without a limit of their own; with pytorch_compatible g *= min(1, threshold / (norm + 1e-6)).
// AUTOCLIP and ZCLIP the same with a threshold that they compute (autoclip.h, zclip.h). TENSOR_NORM: the same for each
// tensor by itself, without the 1e-6. ADAGC: see adagc.h. VALUE: g_i is clamped to [-threshold, threshold]. ADAPTIVE
// and SPAM: see element_passes.h and spam.h.
//
// Norms come measured in double, so they cannot overflow. Limiting a norm costs no pass over the gradients: the factor
// goes into TensorStatistics::clip_scale, and the optimizer multiplies while it reads; a limited norm is then at most
// threshold * (1 + 4 eps), eps being that of T. VALUE, ADAPTIVE and SPAM change the gradients in place, and so does
// zeroing what is not finite.
//
// What an adaptive mode remembers is changed by updates only: a step that is skipped changes nothing, and the finite
// part of a step whose non-finite elements were set to zero is limited but does not enter, nor do the gradients of a
// loss that is not finite.
template <typename T>
class Clipper {
 public:
  // `layout` must outlive the clipper.
  explicit Clipper(const ParameterLayout* layout);

  // Bytes that clipping of so many tensors allocates in any mode, and what the mode of these settings, resolved ones,
  // keeps of the steps besides. While a history changes its length, the old one is there too.
  static int64_t TensorBytes(int64_t tensors);
  static int64_t HistoryBytes(const v1::ClipSettings& settings);

  // Takes settings that ValidateClipSettings accepts. Resolves globs; may allocate. What the mode remembers is kept if
  // the mode stays. It starts anew with another mode; and, in AUTOCLIP and ZCLIP, whose norm is then another one, if
  // other tensors have a limit of their own. ADAGC forgets the tensors that get a limit of their own.
  void Configure(const v1::ClipSettings& settings);

  // What the settings mean for each tensor, for StepRecord::clip_in_force. Allocates.
  ClipInForce InForce() const;

  // Limits the gradients, or answers a loss or gradients that are not finite. `record` holds the loss and the measured
  // norms and non-finite counts of these gradients (level NORM or FULL); fills record->clip and clip_scale of every
  // tensor. The caller skips the update when the action is SKIPPED or STOPPED; else it resets the optimizer's moments
  // if record->clip.moments_reset says so and multiplies the learning rate by record->clip.learning_rate_scale. Never
  // allocates.
  void Apply(const ClipArenas<T>& arenas, StepRecord* record);

  // What the mode in use remembers, for checkpoints; empty if nothing. Allocates.
  std::vector<double> State() const;
  // Puts back what State returned under the same settings and layout. INVALID_ARGUMENT: it cannot be that.
  absl::Status RestoreState(std::span<const double> state);

 private:
  struct TensorLimit {
    v1::ClipMode mode = v1::CLIP_MODE_NONE;
    double threshold = 0;
    bool own = false;   // set by an override
    int64_t units = 1;  // of ADAPTIVE
  };
  using Memory = std::variant<std::monostate, AutoClip, ZClip, AdaGc, SpamSchedule>;

  void ConfigureMemory(bool same_mode, bool same_tensors);
  // Judges the step as a whole and fills what of record->clip does not depend on single tensors.
  void JudgeStep(bool admit, StepRecord* record);
  double SharedNorm(const StepRecord& record) const;
  // Coefficient that brings `norm` to `limit`; 0: no limit.
  double SharedCoefficient(double norm, double limit) const;
  // Brings a tensor within its limit and returns its norm after it.
  double LimitTensor(size_t index, const ClipArenas<T>& arenas, StepRecord* record);
  double LimitInPlace(const TensorLimit& limit, const ParameterSegment& segment, const ClipArenas<T>& arenas,
                      double norm, ClipOutcome* outcome) const;

  const ParameterLayout* const layout_;
  v1::ClipSettings settings_;
  std::vector<TensorLimit> limits_;  // one a segment
  Memory memory_;
  bool spam_cuts_ = false;  // in this step
};

extern template class Clipper<float>;
extern template class Clipper<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_CLIPPER_H_
