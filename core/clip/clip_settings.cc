// What clip settings may be, and their defaults.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/clip/clipper.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxOverrides = 64;
constexpr int kMaxGlobSize = 256;

void CheckThreshold(absl::string_view field, v1::ClipMode mode, double threshold, FieldErrors* errors) {
  const bool unused = mode == v1::CLIP_MODE_NONE || mode == v1::CLIP_MODE_UNSPECIFIED;
  if (unused && threshold == 0) return;
  if (!std::isfinite(threshold) || threshold <= 0) {
    errors->Add(field, absl::StrCat("must be finite and above 0, is ", threshold));
  }
}

void CheckMode(v1::ClipMode mode, FieldErrors* errors) {
  if (mode >= v1::CLIP_MODE_UNSPECIFIED && mode <= v1::CLIP_MODE_VALUE) return;
  if (v1::ClipMode_IsValid(mode)) {
    errors->Add("mode", absl::StrCat(v1::ClipMode_Name(mode), " is not served yet"));
  } else {
    errors->Add("mode", absl::StrCat("unknown mode ", static_cast<int>(mode)));
  }
}

absl::Status CheckOverride(const v1::TensorClip& limit) {
  FieldErrors errors;
  if (limit.tensors().empty() || limit.tensors().size() > kMaxGlobSize) {
    errors.Add("tensors", absl::StrCat("must have 1 to ", kMaxGlobSize, " characters, has ", limit.tensors().size()));
  }
  if (limit.mode() != v1::CLIP_MODE_NONE && limit.mode() != v1::CLIP_MODE_TENSOR_NORM &&
      limit.mode() != v1::CLIP_MODE_VALUE) {
    errors.Add("mode", absl::StrCat("must be NONE, TENSOR_NORM or VALUE, is ",
                                    v1::ClipMode_IsValid(limit.mode()) ? v1::ClipMode_Name(limit.mode())
                                                                       : absl::StrCat(static_cast<int>(limit.mode()))));
  }
  CheckThreshold("threshold", limit.mode(), limit.threshold(), &errors);
  return errors.ToStatus();
}

}  // namespace

absl::Status ValidateClipSettings(const v1::ClipSettings& settings) {
  FieldErrors errors;
  CheckMode(settings.mode(), &errors);
  CheckThreshold("threshold", settings.mode(), settings.threshold(), &errors);
  if (!v1::NonFiniteAction_IsValid(settings.non_finite())) {
    errors.Add("non_finite", absl::StrCat("unknown action ", static_cast<int>(settings.non_finite())));
  }
  if (settings.overrides_size() > kMaxOverrides) {
    errors.Add("overrides", absl::StrCat("at most ", kMaxOverrides, ", are ", settings.overrides_size()));
  }
  for (int i = 0; i < settings.overrides_size() && i < kMaxOverrides; ++i) {
    errors.AddStatus(absl::StrCat("overrides[", i, "]"), CheckOverride(settings.overrides(i)));
  }
  if (settings.has_max_consecutive_skips() && settings.max_consecutive_skips() < 1) {
    errors.Add("max_consecutive_skips", absl::StrCat("must be at least 1, is ", settings.max_consecutive_skips()));
  }
  return errors.ToStatus();
}

v1::ClipSettings ResolveClipSettings(const v1::ClipSettings& settings) {
  v1::ClipSettings resolved = settings;
  if (resolved.mode() == v1::CLIP_MODE_UNSPECIFIED) resolved.set_mode(v1::CLIP_MODE_NONE);
  if (resolved.non_finite() == v1::NON_FINITE_ACTION_UNSPECIFIED) {
    resolved.set_non_finite(v1::NON_FINITE_ACTION_SKIP_STEP);
  }
  if (!resolved.has_max_consecutive_skips()) resolved.set_max_consecutive_skips(100);
  if (!resolved.has_pytorch_compatible()) resolved.set_pytorch_compatible(false);
  return resolved;
}

}  // namespace gradwatch::core
