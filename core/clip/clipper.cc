#include "core/clip/clipper.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/base/glob.h"
#include "core/clip/element_passes.h"
#include "core/stats/norm_sum.h"

namespace gradwatch::core {
namespace {

using Outcome = v1::ClipOutcome;

// What PyTorch and its followers add to a norm before they divide by it.
constexpr double kPytorchEpsilon = 1e-6;

// Modes that multiply all tensors without a limit of their own by one factor.
bool IsShared(v1::ClipMode mode) {
  return mode == v1::CLIP_MODE_GLOBAL_NORM || mode == v1::CLIP_MODE_AUTOCLIP || mode == v1::CLIP_MODE_ZCLIP;
}

bool IsInPlace(v1::ClipMode mode) {
  return mode == v1::CLIP_MODE_VALUE || mode == v1::CLIP_MODE_ADAPTIVE || mode == v1::CLIP_MODE_SPAM;
}

// See TensorClipping::number.
double NumberOf(const v1::ClipSettings& settings) {
  switch (settings.mode()) {
    case v1::CLIP_MODE_NONE:
      return std::numeric_limits<double>::quiet_NaN();
    case v1::CLIP_MODE_AUTOCLIP:
      return settings.autoclip().percentile();
    case v1::CLIP_MODE_ZCLIP:
      return settings.zclip().z_threshold();
    case v1::CLIP_MODE_ADAGC:
      return settings.adagc().lambda_rel();
    case v1::CLIP_MODE_SPAM:
      return settings.spam().theta();
    default:
      return settings.threshold();
  }
}

double CoefficientFor(double norm, double limit) { return norm > limit ? limit / norm : 1; }

// A row of a matrix, or of a convolution's kernels, is a unit; a vector is one as a whole.
int64_t UnitsOf(const ParameterSegment& segment) { return segment.shape.size() > 1 ? segment.shape[0] : 1; }

// Puts the new settings into what is there, or starts anew with them.
template <typename Kept, typename Memory, typename Settings, typename... Extra>
void KeepOrStart(bool keep, Memory* memory, const Settings& settings, Extra... extra) {
  if (Kept* const kept = std::get_if<Kept>(memory); kept != nullptr && keep) {
    kept->Configure(settings);
  } else {
    memory->template emplace<Kept>(settings, extra...);
  }
}

}  // namespace

template <typename T>
Clipper<T>::Clipper(const ParameterLayout* layout) : layout_(layout) {
  Configure(v1::ClipSettings());
}

template <typename T>
int64_t Clipper<T>::TensorBytes(int64_t tensors) {
  // While settings change, the limits before them are kept for comparison.
  return 2 * tensors * static_cast<int64_t>(sizeof(TensorLimit)) + AdaGc::Bytes(tensors);
}

template <typename T>
int64_t Clipper<T>::HistoryBytes(const v1::ClipSettings& settings) {
  switch (settings.mode()) {
    case v1::CLIP_MODE_AUTOCLIP:
      return AutoClip::Bytes(settings.autoclip());
    case v1::CLIP_MODE_ZCLIP:
      return ZClip::Bytes(settings.zclip());
    default:
      return 0;  // averages of tensors are in TensorBytes
  }
}

template <typename T>
void Clipper<T>::Configure(const v1::ClipSettings& settings) {
  const v1::ClipMode mode_before = settings_.mode();
  const std::vector<TensorLimit> limits_before = std::move(limits_);
  settings_ = ResolveClipSettings(settings);
  limits_.assign(layout_->segments().size(), TensorLimit{settings_.mode(), settings_.threshold(), false, 1});
  for (size_t i = 0; i < limits_.size(); ++i) {
    limits_[i].units = UnitsOf(layout_->segments()[i]);
    for (const v1::TensorClip& limit : settings_.overrides()) {
      if (!GlobMatches(limit.tensors(), layout_->segments()[i].name)) continue;
      limits_[i] = {limit.mode(), limit.threshold(), true, limits_[i].units};
      break;
    }
  }
  const auto same_owner = [](const TensorLimit& a, const TensorLimit& b) { return a.own == b.own; };
  ConfigureMemory(settings_.mode() == mode_before,
                  std::equal(limits_.begin(), limits_.end(), limits_before.begin(), limits_before.end(), same_owner));
}

template <typename T>
void Clipper<T>::ConfigureMemory(bool same_mode, bool same_tensors) {
  switch (settings_.mode()) {
    case v1::CLIP_MODE_AUTOCLIP:
      return KeepOrStart<AutoClip>(same_mode && same_tensors, &memory_, settings_.autoclip());
    case v1::CLIP_MODE_ZCLIP:
      return KeepOrStart<ZClip>(same_mode && same_tensors, &memory_, settings_.zclip());
    case v1::CLIP_MODE_ADAGC:
      KeepOrStart<AdaGc>(same_mode, &memory_, settings_.adagc(), limits_.size());
      for (size_t i = 0; i < limits_.size(); ++i) {
        if (limits_[i].own) std::get<AdaGc>(memory_).Forget(i);
      }
      return;
    case v1::CLIP_MODE_SPAM:
      return KeepOrStart<SpamSchedule>(same_mode, &memory_, settings_.spam());
    default:
      memory_.template emplace<std::monostate>();
  }
}

template <typename T>
ClipInForce Clipper<T>::InForce() const {
  ClipInForce in_force;
  in_force.shared = {NumberOf(settings_), settings_.mode(), false};
  if (settings_.mode() == v1::CLIP_MODE_ADAGC) in_force.norm_limit = settings_.adagc().lambda_abs();
  if (settings_.mode() == v1::CLIP_MODE_ZCLIP && settings_.zclip().max_norm() > 0) {
    in_force.norm_limit = settings_.zclip().max_norm();
  }
  in_force.tensors.reserve(limits_.size());
  for (const TensorLimit& limit : limits_) {
    const double number = limit.mode == v1::CLIP_MODE_NONE ? std::numeric_limits<double>::quiet_NaN() : limit.threshold;
    in_force.tensors.push_back(limit.own ? TensorClipping{number, limit.mode, true} : in_force.shared);
  }
  return in_force;
}

template <typename T>
void Clipper<T>::Apply(const ClipArenas<T>& arenas, StepRecord* record) {
  record->clip = ClipOutcome();
  for (TensorStatistics& tensor : record->tensors) tensor.clip_scale = 1;
  const bool fixed = settings_.mode() == v1::CLIP_MODE_ADAPTIVE || settings_.mode() == v1::CLIP_MODE_GLOBAL_NORM ||
                     settings_.mode() == v1::CLIP_MODE_TENSOR_NORM || settings_.mode() == v1::CLIP_MODE_VALUE;
  if (fixed) record->clip.threshold = settings_.threshold();
  const bool broken = record->non_finite() > 0 || !std::isfinite(record->loss);
  if (broken && settings_.non_finite() != v1::NON_FINITE_ACTION_ZERO) {
    const bool stop = settings_.non_finite() == v1::NON_FINITE_ACTION_STOP;
    record->clip.action = stop ? Outcome::ACTION_STOPPED : Outcome::ACTION_SKIPPED;
    return;
  }
  JudgeStep(!broken, record);
  NormSum norm_after;
  for (size_t i = 0; i < limits_.size(); ++i) norm_after.Add(LimitTensor(i, arenas, record));
  record->clip.norm_after = norm_after.Norm();
  if (broken) {
    record->clip.action = Outcome::ACTION_ZEROED;
  } else if (record->clip.tensors_clipped > 0) {
    record->clip.action = Outcome::ACTION_CLIPPED;
  }
}

template <typename T>
void Clipper<T>::JudgeStep(bool admit, StepRecord* record) {
  ClipOutcome& clip = record->clip;
  if (settings_.mode() == v1::CLIP_MODE_GLOBAL_NORM) {
    clip.coefficient = SharedCoefficient(SharedNorm(*record), settings_.threshold());
  } else if (auto* const autoclip = std::get_if<AutoClip>(&memory_)) {
    const double norm = SharedNorm(*record);
    clip.threshold = autoclip->Limit(norm, admit);
    clip.coefficient = SharedCoefficient(norm, clip.threshold);
  } else if (auto* const zclip = std::get_if<ZClip>(&memory_)) {
    const double norm = SharedNorm(*record);
    const ZClip::Verdict verdict = zclip->Judge(norm, admit);
    clip.threshold = verdict.threshold;
    clip.coefficient = SharedCoefficient(norm, verdict.limit);
  } else if (auto* const adagc = std::get_if<AdaGc>(&memory_)) {
    clip.coefficient = adagc->BeginStep(SharedNorm(*record), admit);
    clip.threshold = adagc->Threshold();
  } else if (auto* const spam = std::get_if<SpamSchedule>(&memory_)) {
    const SpamSchedule::Step step = spam->Next();
    spam_cuts_ = step.cuts;
    clip.threshold = step.cuts ? settings_.spam().theta() : 0;
    clip.moments_reset = step.reset_moments;
    clip.learning_rate_scale = step.learning_rate_scale;
  }
}

template <typename T>
double Clipper<T>::SharedNorm(const StepRecord& record) const {
  NormSum sum;
  for (size_t i = 0; i < limits_.size(); ++i) {
    if (!limits_[i].own) sum.Add(record.tensors[i].l2_norm);
  }
  return sum.Norm();
}

template <typename T>
double Clipper<T>::SharedCoefficient(double norm, double limit) const {
  if (limit == 0) return 1;
  if (!settings_.pytorch_compatible()) return CoefficientFor(norm, limit);
  // ZCLIP's reference compares first, PyTorch does not.
  if (settings_.mode() == v1::CLIP_MODE_ZCLIP && norm <= limit) return 1;
  return std::min(1.0, limit / (norm + kPytorchEpsilon));
}

template <typename T>
double Clipper<T>::LimitTensor(size_t index, const ClipArenas<T>& arenas, StepRecord* record) {
  const TensorLimit& limit = limits_[index];
  const ParameterSegment& segment = layout_->segments()[index];
  TensorStatistics& tensor = record->tensors[index];
  const auto gradient = arenas.gradients.subspan(segment.offset, segment.size);
  if (tensor.non_finite() > 0) ZeroNonFinite(gradient);
  const double norm = tensor.l2_norm;  // of the finite part
  if (IsInPlace(limit.mode)) {
    // What is measured already tells that there is nothing to clamp.
    if (limit.mode == v1::CLIP_MODE_VALUE && tensor.max_abs <= limit.threshold) return norm;
    return LimitInPlace(limit, segment, arenas, norm, &record->clip);
  }
  double coefficient = 1;
  if (IsShared(limit.mode)) {
    coefficient = record->clip.coefficient;
  } else if (limit.mode == v1::CLIP_MODE_TENSOR_NORM) {
    coefficient = CoefficientFor(norm, limit.threshold);
  } else if (limit.mode == v1::CLIP_MODE_ADAGC) {
    coefficient = std::get<AdaGc>(memory_).Coefficient(index, norm);
  }
  if (coefficient >= 1) return norm;
  ++record->clip.tensors_clipped;
  if (coefficient >= std::numeric_limits<T>::min()) {
    tensor.clip_scale = coefficient;
  } else {
    MultiplyBy(gradient, coefficient);  // too small for a T: the optimizer could not multiply by it
  }
  return norm * coefficient;
}

template <typename T>
double Clipper<T>::LimitInPlace(const TensorLimit& limit, const ParameterSegment& segment, const ClipArenas<T>& arenas,
                                double norm, ClipOutcome* outcome) const {
  const auto gradient = arenas.gradients.subspan(segment.offset, segment.size);
  PassOutcome pass{.norm = norm};
  if (limit.mode == v1::CLIP_MODE_VALUE) {
    pass = ClampMagnitudes(gradient, limit.threshold);
    outcome->elements_clipped += pass.clipped;
  } else if (limit.mode == v1::CLIP_MODE_ADAPTIVE) {
    pass = ClipUnits(gradient, arenas.parameters.subspan(segment.offset, segment.size), limit.units, limit.threshold,
                     settings_.adaptive().epsilon());
    outcome->units_clipped += pass.clipped;
  } else if (spam_cuts_ && !arenas.second_moment.empty()) {
    pass = CutToMoment(gradient, arenas.second_moment.subspan(segment.offset, segment.size), settings_.spam().theta(),
                       norm);
    outcome->elements_clipped += pass.clipped;
  }
  if (pass.clipped > 0) ++outcome->tensors_clipped;
  return pass.norm;
}

template <typename T>
std::vector<double> Clipper<T>::State() const {
  return std::visit(
      [](const auto& memory) -> std::vector<double> {
        if constexpr (std::is_same_v<std::decay_t<decltype(memory)>, std::monostate>) {
          return {};
        } else {
          return memory.State();
        }
      },
      memory_);
}

template <typename T>
absl::Status Clipper<T>::RestoreState(std::span<const double> state) {
  return std::visit(
      [state](auto& memory) -> absl::Status {
        if constexpr (std::is_same_v<std::decay_t<decltype(memory)>, std::monostate>) {
          if (state.empty()) return absl::OkStatus();
          return absl::InvalidArgumentError("the clip mode in use has no state");
        } else {
          return memory.Restore(state);
        }
      },
      memory_);
}

template class Clipper<float>;
template class Clipper<double>;

}  // namespace gradwatch::core
