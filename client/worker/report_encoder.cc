#include "client/worker/report_encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/base/timestamp.h"

namespace gradwatch::worker {
namespace {

using Buckets = std::span<const uint32_t, core::HistogramCounts::kBuckets>;

// Infinity is never told of what is finite.
float ToFloat(double value) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::isfinite(value) ? std::clamp(value, -kLargest, kLargest) : value);
}

// Adds the buckets from the first to the last that is not empty; returns the exponent of the first, 0 if there is none.
int EncodeBuckets(Buckets buckets, google::protobuf::RepeatedField<int64_t>* counts) {
  const auto is_used = [](uint32_t count) { return count != 0; };
  const auto first = std::find_if(buckets.begin(), buckets.end(), is_used);
  if (first == buckets.end()) return 0;
  const auto last = std::find_if(buckets.rbegin(), buckets.rend(), is_used).base();
  counts->Reserve(static_cast<int>(last - first));
  for (auto bucket = first; bucket != last; ++bucket) counts->AddAlreadyReserved(*bucket);
  return static_cast<int>(first - buckets.begin()) + core::HistogramCounts::kMinExponent;
}

void EncodeHistogram(const core::TensorStatistics& statistics, v1::Histogram* histogram) {
  histogram->set_zero_count(statistics.zero_count);
  if (statistics.histogram_stride > 1) histogram->set_sample_stride(statistics.histogram_stride);
  histogram->set_positive_offset(EncodeBuckets(statistics.histogram.positive(), histogram->mutable_positive_counts()));
  histogram->set_negative_offset(EncodeBuckets(statistics.histogram.negative(), histogram->mutable_negative_counts()));
}

void EncodeTensor(const core::TensorStatistics& statistics, const core::StepRecord& record, v1::TensorStats* stats) {
  // Where all that is finite is zero and something is not finite, a zero would hide it.
  const bool has_finite = statistics.non_finite() == 0 || statistics.max_abs > 0;
  if (has_finite) {
    stats->set_l2_norm(ToFloat(statistics.l2_norm));
    stats->set_max_abs(ToFloat(statistics.max_abs));
  }
  stats->set_nan_count(statistics.nan_count);
  stats->set_pos_inf_count(statistics.pos_inf_count);
  stats->set_neg_inf_count(statistics.neg_inf_count);
  if (statistics.clip_scale < 1) stats->set_clip_scale(ToFloat(statistics.clip_scale));
  if (record.level == v1::STATISTICS_LEVEL_NORM) return;
  if (has_finite) {
    stats->set_mean(ToFloat(statistics.mean));
    stats->set_mean_abs(ToFloat(statistics.mean_abs));
    stats->set_std_dev(ToFloat(statistics.std_dev));
  }
  stats->set_zero_count(statistics.zero_count);
  stats->set_denormal_count(statistics.denormal_count);
  stats->set_weight_norm(ToFloat(statistics.weight_norm));
  stats->set_update_norm(ToFloat(statistics.update_norm));
  if (!std::isnan(statistics.cosine_with_last)) stats->set_cosine_with_last(ToFloat(statistics.cosine_with_last));
  if (record.report_histograms) EncodeHistogram(statistics, stats->mutable_histogram());
}

void EncodeClip(const core::ClipOutcome& outcome, v1::ClipOutcome* clip) {
  clip->set_action(outcome.action);
  const bool updated =
      outcome.action != v1::ClipOutcome::ACTION_SKIPPED && outcome.action != v1::ClipOutcome::ACTION_STOPPED;
  if (updated) clip->set_norm_after(outcome.norm_after);
  clip->set_coefficient(outcome.coefficient);
  clip->set_tensors_clipped(outcome.tensors_clipped);
  if (outcome.threshold != 0) clip->set_threshold(outcome.threshold);
  clip->set_elements_clipped(outcome.elements_clipped);
  clip->set_units_clipped(outcome.units_clipped);
  clip->set_moments_reset(outcome.moments_reset);
}

void EncodeValidation(const core::ValidationOutcome& outcome, v1::Validation* validation) {
  validation->set_loss(outcome.loss);
  validation->set_targets(outcome.targets);
  if (outcome.correct >= 0 && outcome.targets > 0) {
    validation->set_accuracy(static_cast<double>(outcome.correct) / static_cast<double>(outcome.targets));
  }
  if (outcome.has_perplexity) validation->set_perplexity(std::exp(outcome.loss));
}

void EncodeLayer(const core::LayerStatistics& statistics, const core::LayerInfo& layer, v1::LayerStats* stats) {
  stats->set_name(layer.name);
  stats->set_kind(layer.kind);
  if (statistics.output_non_finite == 0 || statistics.output_mean != 0 || statistics.output_variance != 0) {
    stats->set_output_mean(ToFloat(statistics.output_mean));
    stats->set_output_variance(ToFloat(statistics.output_variance));
  }
  stats->set_output_non_finite(statistics.output_non_finite);
  if (!std::isnan(statistics.saturated)) stats->set_saturated(ToFloat(statistics.saturated));
  if (!std::isnan(statistics.dead)) stats->set_dead(ToFloat(statistics.dead));
  if (statistics.has_backward) stats->set_backward_norm(ToFloat(statistics.backward_norm));
  if (!std::isnan(statistics.backward_growth)) stats->set_backward_growth(ToFloat(statistics.backward_growth));
  if (statistics.has_attention) stats->set_largest_logit(ToFloat(statistics.largest_logit));
  if (!std::isnan(statistics.attention_entropy)) stats->set_attention_entropy(ToFloat(statistics.attention_entropy));
}

void EncodeLayers(const core::StepRecord& record, const std::vector<core::LayerInfo>& layers, v1::StepReport* report) {
  for (size_t i = 0; i < std::min(record.layers.size(), layers.size()); ++i) {
    EncodeLayer(record.layers[i], layers[i], report->add_layers());
  }
}

}  // namespace

void EncodeReport(const core::StepRecord& record, const std::vector<core::LayerInfo>& layers, int32_t attempt,
                  v1::StepReport* report) {
  report->set_attempt(attempt);
  report->set_step(record.step);
  report->set_loss(record.loss);
  report->set_learning_rate(record.learning_rate);
  report->set_control_revision(record.control_revision);
  report->set_nan_count(record.nan_count);
  report->set_pos_inf_count(record.pos_inf_count);
  report->set_neg_inf_count(record.neg_inf_count);
  EncodeClip(record.clip, report->mutable_clip());
  report->set_step_seconds(record.step_seconds);
  *report->mutable_time() = core::ToTimestamp(record.time);
  if (record.validation.measured) EncodeValidation(record.validation, report->mutable_validation());
  if (record.report_tensors) EncodeLayers(record, layers, report);
  // The loop measures the norm at every level, for clipping.
  if (record.grad_norm != 0 || record.non_finite() == 0) report->set_grad_norm(record.grad_norm);
  if (record.level == v1::STATISTICS_LEVEL_NONE) return;
  if (!std::isnan(record.cosine_with_last)) report->set_cosine_with_last(record.cosine_with_last);
  if (!record.report_tensors) return;
  report->mutable_tensors()->Reserve(static_cast<int>(record.tensors.size()));
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    v1::TensorStats* stats = report->add_tensors();
    stats->set_tensor(static_cast<int32_t>(i));
    EncodeTensor(record.tensors[i], record, stats);
  }
}

}  // namespace gradwatch::worker
