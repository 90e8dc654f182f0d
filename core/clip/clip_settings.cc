#include "core/clip/clip_settings.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/error.h"
#include "core/base/field_range.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxOverrides = 64;
constexpr int kMaxGlobSize = 256;
constexpr double kMaxDouble = std::numeric_limits<double>::max();
constexpr double kMaxMultiple = 1000;  // of anything that is a multiple of what is usual
constexpr int64_t kMaxSteps = 1'000'000;
constexpr int64_t kMaxAutoClipHistory = 100'000;
constexpr int64_t kMaxZClipWarmUp = 10'000;
constexpr int64_t kMinResetInterval = 40;
constexpr double kAdaptiveFactor = 0.01;

void CheckThreshold(absl::string_view field, double threshold, bool required, FieldErrors* errors) {
  if (!required && threshold == 0) return;
  if (!std::isfinite(threshold) || threshold <= 0) {
    errors->Add(field, absl::StrCat("must be finite and above 0, is ", threshold));
  }
}

// "GLOBAL_NORM".
std::string ModeName(v1::ClipMode mode) {
  if (!v1::ClipMode_IsValid(mode)) return absl::StrCat(static_cast<int>(mode));
  return std::string(absl::StripPrefix(v1::ClipMode_Name(mode), "CLIP_MODE_"));
}

bool NeedsThreshold(v1::ClipMode mode) {
  return mode == v1::CLIP_MODE_GLOBAL_NORM || mode == v1::CLIP_MODE_TENSOR_NORM || mode == v1::CLIP_MODE_VALUE;
}

absl::Status CheckOverride(const v1::TensorClip& limit) {
  FieldErrors errors;
  if (limit.tensors().empty() || limit.tensors().size() > kMaxGlobSize) {
    errors.Add("tensors", absl::StrCat("must have 1 to ", kMaxGlobSize, " characters, has ", limit.tensors().size()));
  }
  const bool limits = limit.mode() == v1::CLIP_MODE_TENSOR_NORM || limit.mode() == v1::CLIP_MODE_VALUE ||
                      limit.mode() == v1::CLIP_MODE_ADAPTIVE;
  if (!limits && limit.mode() != v1::CLIP_MODE_NONE) {
    errors.Add("mode", absl::StrCat("must be NONE, TENSOR_NORM, VALUE or ADAPTIVE, is ", ModeName(limit.mode())));
  }
  const bool unused = limit.mode() == v1::CLIP_MODE_NONE || limit.mode() == v1::CLIP_MODE_UNSPECIFIED;
  CheckThreshold("threshold", limit.threshold(), !unused, &errors);
  return errors.ToStatus();
}

// Numbers in [0, 1): weights of the past.
void CheckWeight(FieldErrors& errors, absl::string_view field, double value) {
  if (value >= 0 && value < 1) return;
  errors.Add(field, absl::StrCat("must be in [0, 1); got ", value));
}

absl::Status CheckAutoClip(const v1::AutoClip& autoclip) {
  FieldErrors errors;
  if (autoclip.has_percentile()) CheckAbove(errors, "percentile", autoclip.percentile(), 0, 100);
  if (autoclip.has_history()) CheckIntegerRange(errors, "history", autoclip.history(), 1, kMaxAutoClipHistory);
  return errors.ToStatus();
}

absl::Status CheckZClip(const v1::ZClip& zclip) {
  FieldErrors errors;
  if (zclip.has_alpha()) CheckWeight(errors, "alpha", zclip.alpha());
  if (zclip.has_z_threshold()) CheckAbove(errors, "z_threshold", zclip.z_threshold(), 0, kMaxMultiple);
  if (zclip.has_warmup_steps()) {
    CheckIntegerRange(errors, "warmup_steps", zclip.warmup_steps(), 2, kMaxZClipWarmUp);
  }
  if (!v1::ZClip::Method_IsValid(zclip.method())) {
    errors.Add("method", absl::StrCat("unknown method ", static_cast<int>(zclip.method())));
  }
  if (zclip.has_max_norm()) CheckNumberRange(errors, "max_norm", zclip.max_norm(), 0, kMaxDouble);
  return errors.ToStatus();
}

absl::Status CheckAdaGc(const v1::AdaGcClip& adagc) {
  FieldErrors errors;
  if (adagc.has_lambda_abs()) CheckAbove(errors, "lambda_abs", adagc.lambda_abs(), 0, kMaxDouble);
  if (adagc.has_lambda_rel()) CheckNumberRange(errors, "lambda_rel", adagc.lambda_rel(), 1, kMaxMultiple);
  if (adagc.has_beta()) CheckWeight(errors, "beta", adagc.beta());
  if (adagc.has_warmup_steps()) CheckIntegerRange(errors, "warmup_steps", adagc.warmup_steps(), 1, kMaxSteps);
  return errors.ToStatus();
}

absl::Status CheckSpam(const v1::SpamClip& spam) {
  FieldErrors errors;
  if (spam.has_theta()) CheckAbove(errors, "theta", spam.theta(), 0, kMaxDouble);
  if (spam.has_reset_interval() && spam.reset_interval() != 0) {
    CheckIntegerRange(errors, "reset_interval", spam.reset_interval(), kMinResetInterval, kMaxSteps);
  }
  if (spam.has_warmup_steps()) CheckIntegerRange(errors, "warmup_steps", spam.warmup_steps(), 1, kMaxSteps);
  if (!errors.empty()) return errors.ToStatus();
  v1::ClipSettings resolved;
  resolved.set_mode(v1::CLIP_MODE_SPAM);
  *resolved.mutable_spam() = spam;
  resolved = ResolveClipSettings(resolved);
  const int32_t warmup = resolved.spam().warmup_steps(), interval = resolved.spam().reset_interval();
  if (interval != 0 && warmup >= interval) {
    errors.Add("warmup_steps", absl::StrCat("must be less than reset_interval, ", interval, "; is ", warmup));
  }
  return errors.ToStatus();
}

void CheckModeNumbers(const v1::ClipSettings& settings, FieldErrors* errors) {
  if (settings.adaptive().has_epsilon()) {
    CheckAbove(*errors, "adaptive.epsilon", settings.adaptive().epsilon(), 0, kMaxMultiple);
  }
  errors->AddStatus("autoclip", CheckAutoClip(settings.autoclip()));
  errors->AddStatus("zclip", CheckZClip(settings.zclip()));
  errors->AddStatus("adagc", CheckAdaGc(settings.adagc()));
  errors->AddStatus("spam", CheckSpam(settings.spam()));
}

void ResolveAutoClip(v1::AutoClip* autoclip) {
  if (!autoclip->has_percentile()) autoclip->set_percentile(10);
  if (!autoclip->has_history()) autoclip->set_history(10'000);
}

void ResolveZClip(v1::ZClip* zclip) {
  if (!zclip->has_alpha()) zclip->set_alpha(0.97);
  if (!zclip->has_z_threshold()) zclip->set_z_threshold(2.5);
  if (!zclip->has_warmup_steps()) zclip->set_warmup_steps(25);
  if (zclip->method() == v1::ZClip::METHOD_UNSPECIFIED) zclip->set_method(v1::ZClip::METHOD_RECIPROCAL);
  if (!zclip->has_max_norm()) zclip->set_max_norm(1);
}

void ResolveAdaGc(v1::AdaGcClip* adagc) {
  if (!adagc->has_lambda_abs()) adagc->set_lambda_abs(1);
  if (!adagc->has_lambda_rel()) adagc->set_lambda_rel(1.05);
  if (!adagc->has_beta()) adagc->set_beta(0.98);
  if (!adagc->has_warmup_steps()) adagc->set_warmup_steps(100);
}

void ResolveSpam(v1::SpamClip* spam) {
  if (!spam->has_theta()) spam->set_theta(5000);
  if (!spam->has_reset_interval()) spam->set_reset_interval(500);
  if (!spam->has_warmup_steps()) spam->set_warmup_steps(150);
}

// Fills in the numbers of the mode in use. An override may be ADAPTIVE in any mode and needs its epsilon.
void ResolveModeNumbers(v1::ClipSettings* settings) {
  bool adaptive = settings->mode() == v1::CLIP_MODE_ADAPTIVE;
  if (adaptive && settings->threshold() == 0) settings->set_threshold(kAdaptiveFactor);
  for (const v1::TensorClip& limit : settings->overrides()) adaptive |= limit.mode() == v1::CLIP_MODE_ADAPTIVE;
  if (adaptive && !settings->adaptive().has_epsilon()) settings->mutable_adaptive()->set_epsilon(1e-3);
  if (settings->mode() == v1::CLIP_MODE_AUTOCLIP) ResolveAutoClip(settings->mutable_autoclip());
  if (settings->mode() == v1::CLIP_MODE_ZCLIP) ResolveZClip(settings->mutable_zclip());
  if (settings->mode() == v1::CLIP_MODE_ADAGC) ResolveAdaGc(settings->mutable_adagc());
  if (settings->mode() == v1::CLIP_MODE_SPAM) ResolveSpam(settings->mutable_spam());
}

}  // namespace

absl::Status ValidateClipSettings(const v1::ClipSettings& settings) {
  FieldErrors errors;
  if (!v1::ClipMode_IsValid(settings.mode())) {
    errors.Add("mode", absl::StrCat("unknown mode ", static_cast<int>(settings.mode())));
  }
  CheckThreshold("threshold", settings.threshold(), NeedsThreshold(settings.mode()), &errors);
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
  CheckModeNumbers(settings, &errors);
  return errors.ToStatus();
}

absl::Status CheckThresholdIsRead(const v1::ClipSettings& settings) {
  const v1::ClipMode mode = settings.mode();
  const bool is_read = NeedsThreshold(mode) || mode == v1::CLIP_MODE_ADAPTIVE;
  if (settings.threshold() == 0 || is_read || !v1::ClipMode_IsValid(mode)) return absl::OkStatus();
  return InvalidField("threshold",
                      absl::StrCat("is ", settings.threshold(), ", which mode ",
                                   mode == v1::CLIP_MODE_UNSPECIFIED ? "NONE" : ModeName(mode),
                                   " does not read; name mode GLOBAL_NORM, TENSOR_NORM, VALUE or ADAPTIVE"));
}

v1::ClipSettings ResolveClipSettings(const v1::ClipSettings& settings) {
  v1::ClipSettings resolved = settings;
  if (resolved.mode() == v1::CLIP_MODE_UNSPECIFIED) resolved.set_mode(v1::CLIP_MODE_NONE);
  if (resolved.non_finite() == v1::NON_FINITE_ACTION_UNSPECIFIED) {
    resolved.set_non_finite(v1::NON_FINITE_ACTION_SKIP_STEP);
  }
  if (!resolved.has_max_consecutive_skips()) resolved.set_max_consecutive_skips(100);
  if (!resolved.has_pytorch_compatible()) resolved.set_pytorch_compatible(false);
  ResolveModeNumbers(&resolved);
  return resolved;
}

}  // namespace gradwatch::core
