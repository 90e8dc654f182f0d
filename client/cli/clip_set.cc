#include "client/cli/clip_set.h"

#include "absl/strings/str_cat.h"
#include "client/cli/option_types.h"

namespace gradwatch::cli {
namespace {

absl::Status CheckOptions(const ClipSetOptions& options) {
  const bool has_limit = options.max_norm.has_value() || options.max_value.has_value();
  if (!has_limit && options.mode == v1::CLIP_MODE_UNSPECIFIED &&
      (options.non_finite == v1::NON_FINITE_ACTION_UNSPECIFIED || !options.tensors.empty())) {
    return absl::InvalidArgumentError("nothing to set: give --max-norm, --max-value, --mode or --non-finite");
  }
  if (options.mode == v1::CLIP_MODE_NONE && has_limit) {
    return absl::InvalidArgumentError("--mode none takes no limit");
  }
  if (options.mode == v1::CLIP_MODE_VALUE && options.max_norm.has_value()) {
    return absl::InvalidArgumentError("--mode value takes --max-value, not --max-norm");
  }
  if (options.mode != v1::CLIP_MODE_UNSPECIFIED && options.mode != v1::CLIP_MODE_VALUE &&
      options.max_value.has_value()) {
    return absl::InvalidArgumentError("--max-value goes with --mode value only");
  }
  return absl::OkStatus();
}

// The mode that is asked for; `norm_mode` is what --max-norm alone means.
v1::ClipMode WantedMode(const ClipSetOptions& options, v1::ClipMode norm_mode) {
  if (options.mode != v1::CLIP_MODE_UNSPECIFIED) return options.mode;
  return options.max_value.has_value() ? v1::CLIP_MODE_VALUE : norm_mode;
}

double WantedThreshold(const ClipSetOptions& options, double unset) {
  return options.max_norm.value_or(options.max_value.value_or(unset));
}

void SetForAll(const ClipSetOptions& options, const v1::ClipSettings& present, v1::AdjustJobRequest* request) {
  v1::ClipSettings* clip = request->mutable_controls()->mutable_clip();
  const bool by_tensor = present.mode() == v1::CLIP_MODE_TENSOR_NORM;
  clip->set_mode(WantedMode(options, by_tensor ? v1::CLIP_MODE_TENSOR_NORM : v1::CLIP_MODE_GLOBAL_NORM));
  request->mutable_update_mask()->add_paths("clip.mode");
  if (clip->mode() == v1::CLIP_MODE_NONE) return;  // the threshold stays, for the day when clipping is on again
  clip->set_threshold(WantedThreshold(options, present.threshold()));
  request->mutable_update_mask()->add_paths("clip.threshold");
}

// Replaces the override of the glob, or puts a new one before the others, since the first match wins.
absl::Status SetOverride(const ClipSetOptions& options, const v1::ClipSettings& present,
                         v1::AdjustJobRequest* request) {
  v1::TensorClip wanted;
  wanted.set_tensors(options.tensors);
  wanted.set_mode(WantedMode(options, v1::CLIP_MODE_TENSOR_NORM));
  auto* overrides = request->mutable_controls()->mutable_clip()->mutable_overrides();
  *overrides = present.overrides();
  v1::TensorClip* found = nullptr;
  for (v1::TensorClip& own : *overrides) {
    if (own.tensors() == options.tensors && found == nullptr) found = &own;
  }
  if (wanted.mode() != v1::CLIP_MODE_NONE) {
    wanted.set_threshold(WantedThreshold(options, found == nullptr ? 0 : found->threshold()));
    if (wanted.threshold() == 0) return absl::InvalidArgumentError("give the limit: --max-norm or --max-value");
  }
  if (found != nullptr) {
    *found = wanted;
  } else {
    *overrides->Add() = wanted;
    for (int i = overrides->size() - 1; i > 0; --i) overrides->SwapElements(i, i - 1);
  }
  request->mutable_update_mask()->add_paths("clip.overrides");
  return absl::OkStatus();
}

}  // namespace

CLI::App* AddClipSet(CLI::App& parent, ClipSetOptions* options) {
  CLI::App* app = parent.add_subcommand("set", "Change how gradients are limited, and say from which step it holds");
  AddAdjustingOptions(*app, &options->adjusting);
  auto* norm = app->add_option("--max-norm", options->max_norm, "Largest norm: of all gradients, or of each tensor");
  auto* value = app->add_option("--max-value", options->max_value, "Largest magnitude of an element");
  norm->check(FinitePositive());
  value->check(FinitePositive())->excludes(norm);
  AddWordOption(*app, "--mode", options->mode, "What is limited: none, global_norm, tensor_norm, value");
  app->add_option("--tensors", options->tensors, "Only tensors that match this glob get this limit");
  AddWordOption(*app, "--non-finite", options->non_finite, "On NaN and infinities: skip_step, zero, stop");
  return app;
}

absl::StatusOr<v1::AdjustJobRequest> MakeClipRequest(const ClipSetOptions& options, const v1::ClipSettings& present) {
  absl::Status status = CheckOptions(options);
  v1::AdjustJobRequest request;
  const bool has_limit =
      options.max_norm.has_value() || options.max_value.has_value() || options.mode != v1::CLIP_MODE_UNSPECIFIED;
  if (status.ok() && has_limit) {
    if (options.tensors.empty()) {
      SetForAll(options, present, &request);
    } else {
      status = SetOverride(options, present, &request);
    }
  }
  if (!status.ok()) return status;
  if (options.non_finite != v1::NON_FINITE_ACTION_UNSPECIFIED) {
    request.mutable_controls()->mutable_clip()->set_non_finite(options.non_finite);
    request.mutable_update_mask()->add_paths("clip.non_finite");
  }
  return request;
}

absl::StatusOr<ExitCode> RunClipSet(const ClipSetOptions& options, Session& session) {
  const absl::Status status = CheckOptions(options);  // before the server is asked
  if (!status.ok()) return status;
  return Adjust(
      options.adjusting, [&options](const v1::Job& job) { return MakeClipRequest(options, job.controls().clip()); },
      session);
}

}  // namespace gradwatch::cli
