#include "client/cli/clip_set.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/controls_text.h"
#include "client/cli/option_types.h"
#include "client/lib/set_field.h"

namespace gradwatch::cli {
namespace {

bool HasLimit(const ClipSetOptions& options) {
  return options.max_norm.has_value() || options.max_value.has_value() || options.factor.has_value();
}

bool LimitsNorm(v1::ClipMode mode) { return mode == v1::CLIP_MODE_GLOBAL_NORM || mode == v1::CLIP_MODE_TENSOR_NORM; }

// Each limit goes with the modes that read it, if a mode is named at all.
absl::Status CheckLimits(const ClipSetOptions& options) {
  if (options.mode == v1::CLIP_MODE_UNSPECIFIED) return absl::OkStatus();
  if (options.max_norm.has_value() && !LimitsNorm(options.mode)) {
    return absl::InvalidArgumentError("--max-norm goes with --mode global_norm or tensor_norm only");
  }
  if (options.max_value.has_value() && options.mode != v1::CLIP_MODE_VALUE) {
    return absl::InvalidArgumentError("--max-value goes with --mode value only");
  }
  if (options.factor.has_value() && options.mode != v1::CLIP_MODE_ADAPTIVE) {
    return absl::InvalidArgumentError("--factor goes with --mode adaptive only");
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ClipSetOptions& options) {
  const bool has_change = HasLimit(options) || !options.numbers.empty() || options.mode != v1::CLIP_MODE_UNSPECIFIED;
  if (!has_change && (options.non_finite == v1::NON_FINITE_ACTION_UNSPECIFIED || !options.tensors.empty())) {
    return absl::InvalidArgumentError(
        "nothing to set: give --max-norm, --max-value, --factor, --mode, --set or --non-finite");
  }
  if (!options.tensors.empty() && !options.numbers.empty()) {
    return absl::InvalidArgumentError("--set goes for all tensors, not with --tensors");
  }
  return CheckLimits(options);
}

// The mode that is asked for; `norm_mode` is what --max-norm alone means, `present` what no limit at all means.
v1::ClipMode WantedMode(const ClipSetOptions& options, v1::ClipMode norm_mode, v1::ClipMode present) {
  if (options.mode != v1::CLIP_MODE_UNSPECIFIED) return options.mode;
  if (options.max_value.has_value()) return v1::CLIP_MODE_VALUE;
  if (options.factor.has_value()) return v1::CLIP_MODE_ADAPTIVE;
  return options.max_norm.has_value() ? norm_mode : present;
}

double WantedThreshold(const ClipSetOptions& options, double unset) {
  return options.max_norm.value_or(options.max_value.value_or(options.factor.value_or(unset)));
}

// Sets the numbers of the mode's own message.
absl::Status SetNumbers(const std::vector<std::string>& numbers, v1::ClipMode mode, v1::AdjustJobRequest* request) {
  const auto* const field = ModeField(mode);
  if (field == nullptr && !numbers.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("mode ", mode == v1::CLIP_MODE_UNSPECIFIED ? "none" : client::Word(mode),
                     " has no numbers to --set; adaptive, autoclip, zclip, adagc and spam have"));
  }
  for (const std::string& number : numbers) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(number, absl::MaxSplits('=', 1));
    const std::string path = absl::StrCat(field->name(), ".", parts.first);
    const absl::Status status = client::SetFieldAtPath(path, parts.second, request->mutable_controls()->mutable_clip());
    if (!status.ok()) return status;
    request->mutable_update_mask()->add_paths(absl::StrCat("clip.", path));
  }
  return absl::OkStatus();
}

// Whether the options alone say which mode is meant, whatever the job has now.
bool SaysMode(const ClipSetOptions& options) {
  return options.mode != v1::CLIP_MODE_UNSPECIFIED || options.max_value.has_value() || options.factor.has_value();
}

absl::Status SetForAll(const ClipSetOptions& options, const v1::Job& job, v1::AdjustJobRequest* request) {
  const v1::ClipMode present = job.controls().clip().mode();
  const bool by_tensor = present == v1::CLIP_MODE_TENSOR_NORM;
  const v1::ClipMode mode =
      WantedMode(options, by_tensor ? v1::CLIP_MODE_TENSOR_NORM : v1::CLIP_MODE_GLOBAL_NORM, present);
  if (!SaysMode(options)) request->set_etag(job.etag());
  const absl::Status status = SetNumbers(options.numbers, mode, request);
  if (!status.ok()) return status;
  if (!SaysMode(options) && !HasLimit(options)) return absl::OkStatus();  // --set alone
  v1::ClipSettings* clip = request->mutable_controls()->mutable_clip();
  clip->set_mode(mode);
  request->mutable_update_mask()->add_paths("clip.mode");
  if (HasLimit(options)) {
    clip->set_threshold(WantedThreshold(options, 0));
    request->mutable_update_mask()->add_paths("clip.threshold");
    return absl::OkStatus();
  }
  // The threshold stays, also where none is read, for the day when it is again. But a fraction of weights is no norm,
  // and a norm no fraction: it goes back to its default.
  const bool adaptive = mode == v1::CLIP_MODE_ADAPTIVE;
  if (!adaptive && !LimitsNorm(mode) && mode != v1::CLIP_MODE_VALUE) return absl::OkStatus();
  request->set_etag(job.etag());
  if (adaptive != (present == v1::CLIP_MODE_ADAPTIVE)) request->mutable_update_mask()->add_paths("clip.threshold");
  return absl::OkStatus();
}

// The limit that this very glob has now; 0 if it has none.
double PresentThreshold(const v1::ClipSettings& present, const std::string& glob) {
  for (const v1::TensorClip& own : present.overrides()) {
    if (own.tensors() == glob) return own.threshold();
  }
  return 0;
}

// The override of this very glob, and no other.
absl::Status SetOverride(const ClipSetOptions& options, const v1::Job& job, v1::AdjustJobRequest* request) {
  v1::TensorClip* wanted = request->mutable_controls()->mutable_clip()->add_overrides();
  wanted->set_tensors(options.tensors);
  wanted->set_mode(WantedMode(options, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_TENSOR_NORM));
  if (wanted->mode() != v1::CLIP_MODE_NONE) {
    wanted->set_threshold(WantedThreshold(options, PresentThreshold(job.controls().clip(), options.tensors)));
    if (!HasLimit(options)) request->set_etag(job.etag());
    if (wanted->threshold() == 0) {
      return absl::InvalidArgumentError("give the limit: --max-norm, --max-value or --factor");
    }
  }
  request->mutable_update_mask()->add_paths(OverridePath(options.tensors));
  return absl::OkStatus();
}

// "A number of the mode: adaptive: epsilon; autoclip: percentile, history; ...".
std::string NumbersHelp() {
  std::vector<std::string> modes;
  for (const auto& [word, mode] : client::WordMap<v1::ClipMode>()) {
    const auto* const field = ModeField(mode);
    if (field == nullptr) continue;
    std::vector<std::string> names;
    for (int i = 0; i < field->message_type()->field_count(); ++i) {
      names.push_back(field->message_type()->field(i)->name());
    }
    modes.push_back(absl::StrCat(word, ": ", absl::StrJoin(names, ", ")));
  }
  return absl::StrCat("A number of the mode; may be repeated. ", absl::StrJoin(modes, "; "));
}

}  // namespace

CLI::App* AddClipSet(CLI::App& parent, ClipSetOptions* options) {
  CLI::App* app = parent.add_subcommand("set", "Change how gradients are limited, and say from which step it holds");
  AddAdjustingOptions(*app, &options->adjusting);
  auto* norm = app->add_option("--max-norm", options->max_norm, "Largest norm: of all gradients, or of each tensor");
  auto* value = app->add_option("--max-value", options->max_value, "Largest magnitude of an element");
  norm->check(client::FinitePositive());
  value->check(client::FinitePositive())->excludes(norm);
  auto* factor = app->add_option("--factor", options->factor,
                                 "Mode adaptive: largest norm of a unit's gradient over its weights'");
  factor->check(client::FinitePositive())->excludes(norm)->excludes(value);
  AddWordOption(*app, "--mode", options->mode,
                "What is limited: none, global_norm, tensor_norm, value, adaptive, autoclip, zclip, adagc, spam");
  app->add_option("--set", options->numbers, NumbersHelp())
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->take_all();
  app->add_option("--tensors", options->tensors,
                  "Only tensors that match this glob get this limit; `clip unset` takes it away");
  AddWordOption(*app, "--non-finite", options->non_finite, "On NaN and infinities: skip_step, zero, stop");
  return app;
}

absl::StatusOr<v1::AdjustJobRequest> MakeClipRequest(const ClipSetOptions& options, const v1::Job& job) {
  absl::Status status = CheckOptions(options);
  v1::AdjustJobRequest request;
  const bool has_change = HasLimit(options) || !options.numbers.empty() || options.mode != v1::CLIP_MODE_UNSPECIFIED;
  if (status.ok() && has_change) {
    if (options.tensors.empty()) {
      status = SetForAll(options, job, &request);
    } else {
      status = SetOverride(options, job, &request);
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
      options.adjusting, [&options](const v1::Job& job) { return MakeClipRequest(options, job); }, session);
}

}  // namespace gradwatch::cli
