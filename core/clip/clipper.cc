#include "core/clip/clipper.h"

#include <algorithm>
#include <cmath>

#include "core/base/glob.h"
#include "core/stats/norm_sum.h"
#include "core/stats/tensor_statistics.h"

namespace gradwatch::core {
namespace {

using Outcome = v1::ClipOutcome;

template <typename T>
void Scale(std::span<T> gradient, double coefficient) {
  for (T& value : gradient) value = static_cast<T>(value * coefficient);
}

template <typename T>
void ZeroNonFinite(std::span<T> gradient) {
  for (T& value : gradient) value = std::isfinite(value) ? value : T{0};
}

// Whether anything had to be clamped.
template <typename T>
bool Clamp(std::span<T> gradient, double limit) {
  int64_t clamped = 0;
  for (T& value : gradient) {
    const bool outside = std::fabs(value) > limit;
    clamped += outside ? 1 : 0;
    value = outside ? std::copysign(static_cast<T>(limit), value) : value;
  }
  return clamped > 0;
}

template <typename T>
double MeasuredNorm(std::span<const T> gradient) {
  TensorStatistics statistics;
  MeasureNorm(gradient, &statistics);
  return statistics.l2_norm;
}

}  // namespace

template <typename T>
Clipper<T>::Clipper(const ParameterLayout* layout) : layout_(layout) {
  Configure(v1::ClipSettings());
}

template <typename T>
void Clipper<T>::Configure(const v1::ClipSettings& settings) {
  settings_ = ResolveClipSettings(settings);
  limits_.assign(layout_->segments().size(), TensorLimit{settings_.mode(), settings_.threshold()});
  for (size_t i = 0; i < limits_.size(); ++i) {
    for (const v1::TensorClip& limit : settings_.overrides()) {
      if (!GlobMatches(limit.tensors(), layout_->segments()[i].name)) continue;
      limits_[i] = {limit.mode(), limit.threshold()};
      break;
    }
  }
}

template <typename T>
void Clipper<T>::Apply(std::span<T> gradients, StepRecord* record) const {
  record->clip = ClipOutcome();
  if (settings_.mode() != v1::CLIP_MODE_NONE) record->clip.threshold = settings_.threshold();
  const bool broken = record->non_finite() > 0;
  if (broken && settings_.non_finite() != v1::NON_FINITE_ACTION_ZERO) {
    const bool stop = settings_.non_finite() == v1::NON_FINITE_ACTION_STOP;
    record->clip.action = stop ? Outcome::ACTION_STOPPED : Outcome::ACTION_SKIPPED;
    return;
  }
  record->clip.coefficient = GlobalCoefficient(*record);
  record->clip.norm_after = ApplyLimits(gradients, record->clip.coefficient, record);
  if (broken) {
    record->clip.action = Outcome::ACTION_ZEROED;
  } else if (record->clip.tensors_clipped > 0) {
    record->clip.action = Outcome::ACTION_CLIPPED;
  }
}

template <typename T>
double Clipper<T>::GlobalCoefficient(const StepRecord& record) const {
  if (settings_.mode() != v1::CLIP_MODE_GLOBAL_NORM) return 1;
  NormSum sum;
  for (size_t i = 0; i < limits_.size(); ++i) {
    if (limits_[i].mode == v1::CLIP_MODE_GLOBAL_NORM) sum.Add(record.tensors[i].l2_norm);
  }
  const double norm = sum.Norm();
  if (settings_.pytorch_compatible()) return std::min(1.0, settings_.threshold() / (norm + 1e-6));
  return norm > settings_.threshold() ? settings_.threshold() / norm : 1;
}

// Brings every tensor within its limit and returns the global norm after it.
template <typename T>
double Clipper<T>::ApplyLimits(std::span<T> gradients, double global_coefficient, StepRecord* record) const {
  NormSum norm_after;
  for (size_t i = 0; i < limits_.size(); ++i) {
    const ParameterSegment& segment = layout_->segments()[i];
    const auto gradient = gradients.subspan(segment.offset, segment.size);
    if (record->tensors[i].non_finite() > 0) ZeroNonFinite(gradient);
    const TensorLimit& limit = limits_[i];
    double norm = record->tensors[i].l2_norm;  // of the finite part
    double coefficient = 1;
    bool clamped = false;
    if (limit.mode == v1::CLIP_MODE_GLOBAL_NORM) {
      coefficient = global_coefficient;
    } else if (limit.mode == v1::CLIP_MODE_TENSOR_NORM && norm > limit.threshold) {
      coefficient = limit.threshold / norm;
    } else if (limit.mode == v1::CLIP_MODE_VALUE && Clamp(gradient, limit.threshold)) {
      clamped = true;
      norm = MeasuredNorm<T>(gradient);
    }
    if (coefficient < 1) Scale(gradient, coefficient);
    norm_after.Add(norm * coefficient);
    if (clamped || coefficient < 1) ++record->clip.tensors_clipped;
  }
  return norm_after.Norm();
}

template class Clipper<float>;
template class Clipper<double>;

}  // namespace gradwatch::core
