// What one training step measured: plain numbers, allocated once and filled again on every step.
#ifndef GRADWATCH_CORE_STATS_STEP_RECORD_H_
#define GRADWATCH_CORE_STATS_STEP_RECORD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::core {

// Counts by sign and power of two: bucket i counts 2^(i + kMinExponent) <= |x| < 2^(i + 1 + kMinExponent). Denormal
// numbers are in bucket 0. Doubles beyond float's exponents are counted in the first or last bucket.
struct HistogramCounts {
  static constexpr int kMinExponent = -127;
  static constexpr int kBuckets = 255;
  // Where the buckets of the negative numbers begin, and all buckets: sign and exponent as they lie in a float. The
  // last one of either sign, that of what is not finite, stays empty.
  static constexpr int kNegative = 256;
  static constexpr int kKeys = 512;

  std::span<uint32_t, kBuckets> positive() { return std::span(counts).first<kBuckets>(); }
  std::span<uint32_t, kBuckets> negative() { return std::span(counts).subspan<kNegative, kBuckets>(); }
  std::span<const uint32_t, kBuckets> positive() const { return std::span(counts).first<kBuckets>(); }
  std::span<const uint32_t, kBuckets> negative() const { return std::span(counts).subspan<kNegative, kBuckets>(); }

  std::array<uint32_t, kKeys> counts{};
};

// Statistics of one tensor; the fields mean what those of v1::TensorStats mean.
struct TensorStatistics {
  double l2_norm = 0;
  double max_abs = 0;
  double mean = 0;
  double mean_abs = 0;
  double std_dev = 0;
  int64_t nan_count = 0;
  int64_t pos_inf_count = 0;
  int64_t neg_inf_count = 0;
  int64_t zero_count = 0;
  int64_t denormal_count = 0;
  double weight_norm = 0;
  double update_norm = 0;
  // NaN: there is nothing to compare with.
  double cosine_with_last = std::numeric_limits<double>::quiet_NaN();
  // The histogram counts one element of this many; all other counts are of all elements.
  int32_t histogram_stride = 1;
  // Factor in (0, 1] that clipping asks the optimizer to apply to the gradient while it reads it, so that clipping by a
  // norm costs no pass of its own. A normal number of the gradient's type. Measuring sets it to 1.
  double clip_scale = 1;
  // Of the last step on which it was measured (StepRecord::report_histograms), of level FULL: on all others it is left
  // alone.
  HistogramCounts histogram;

  int64_t non_finite() const { return nan_count + pos_inf_count + neg_inf_count; }
  // Everything but the histogram becomes as it is at first.
  void ClearNumbers();
};

inline void TensorStatistics::ClearNumbers() {
  static constexpr TensorStatistics kAtFirst{};
  std::memcpy(static_cast<void*>(this), &kAtFirst, offsetof(TensorStatistics, histogram));
}

// How a tensor's gradient is limited, of the modes of v1::ClipMode.
struct TensorClipping {
  // The number of the mode: its threshold; AUTOCLIP: percentile, ZCLIP: z_threshold, ADAGC: lambda_rel, SPAM: theta.
  // NaN: it has none.
  double number = std::numeric_limits<double>::quiet_NaN();
  v1::ClipMode mode = v1::CLIP_MODE_NONE;
  bool own = false;  // set by an override
};

// The clipping that is in force for a step: known before its gradients are judged, as what it does to them is not.
struct ClipInForce {
  TensorClipping shared;  // of the tensors without a limit of their own
  // A largest global norm that the mode has besides. ZCLIP: max_norm, ADAGC: lambda_abs. NaN: it has none.
  double norm_limit = std::numeric_limits<double>::quiet_NaN();
  std::vector<TensorClipping> tensors;  // arena order; empty: no tensor has a limit of its own

  // That of a tensor; `shared` for -1.
  const TensorClipping& Of(int tensor) const {
    return tensor >= 0 && tensor < static_cast<int>(tensors.size()) ? tensors[static_cast<size_t>(tensor)] : shared;
  }
};

// What clipping did; the fields mean what those of v1::ClipOutcome mean.
struct ClipOutcome {
  v1::ClipOutcome::Action action = v1::ClipOutcome::ACTION_NOT_NEEDED;
  double norm_after = 0;
  double coefficient = 1;
  int tensors_clipped = 0;
  double threshold = 0;
  int64_t elements_clipped = 0;
  int64_t units_clipped = 0;
  bool moments_reset = false;      // the optimizer's moments are to be set to zero before the update
  double learning_rate_scale = 1;  // factor on the learning rate of this step; told as part of it
};

// How the network did on the validation examples after a step; the fields mean what those of v1::Validation mean.
struct ValidationOutcome {
  bool measured = false;  // the others mean nothing unless set
  double loss = 0;
  int64_t targets = 0;
  int64_t correct = -1;         // below 0: a prediction is not simply right or wrong
  bool has_perplexity = false;  // the loss is a softmax cross-entropy
};

// Statistics of one layer; the fields mean what those of v1::LayerStats mean. NaN in a field that may be unset: unset.
struct LayerStatistics {
  double output_mean = 0;
  double output_variance = 0;
  int64_t output_non_finite = 0;
  double saturated = std::numeric_limits<double>::quiet_NaN();
  double dead = std::numeric_limits<double>::quiet_NaN();
  double backward_norm = 0;
  bool has_backward = false;  // whether backward_norm, which may itself be NaN, was measured
  double backward_growth = std::numeric_limits<double>::quiet_NaN();
  double largest_logit = 0;
  bool has_attention = false;  // whether largest_logit, which may itself be NaN, was measured
  double attention_entropy = std::numeric_limits<double>::quiet_NaN();
};

// One step; the fields mean what those of v1::StepReport mean.
struct StepRecord {
  int64_t step = 0;
  double loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  double learning_rate_scale = 1;  // that of the controls in force, as part of learning_rate
  int64_t control_revision = 0;
  int64_t nan_count = 0;
  int64_t pos_inf_count = 0;
  int64_t neg_inf_count = 0;
  ClipInForce clip_in_force;
  ClipOutcome clip;  // as at first until the step is clipped
  double step_seconds = 0;
  double cosine_with_last = std::numeric_limits<double>::quiet_NaN();  // NaN: there is nothing to compare with
  absl::Time time;
  v1::StatisticsLevel level = v1::STATISTICS_LEVEL_FULL;  // what was measured of the tensors on this step
  std::vector<TensorStatistics> tensors;                  // arena order; always all of them
  std::vector<LayerStatistics> layers;                    // forward order; empty unless asked for
  ValidationOutcome validation;
  // Whether this step is one of Controls.report_every; else `layers` and the tensors' histograms are of an older one.
  bool report_tensors = true;
  // Whether the tensors' histograms are of this step: of one that is reported, see Controls.histogram_every.
  bool report_histograms = true;

  int64_t non_finite() const { return nan_count + pos_inf_count + neg_inf_count; }
};

// Bytes of a record of so many tensors and layers.
inline int64_t StepRecordBytes(int64_t tensors, int64_t layers) {
  return static_cast<int64_t>(sizeof(StepRecord)) +
         tensors * static_cast<int64_t>(sizeof(TensorStatistics) + sizeof(TensorClipping)) +
         layers * static_cast<int64_t>(sizeof(LayerStatistics));
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_STEP_RECORD_H_
