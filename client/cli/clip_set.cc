#include "client/cli/clip_set.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/controls_text.h"
#include "client/cli/option_types.h"
#include "client/cli/waiting_edits.h"
#include "client/lib/set_field.h"

namespace gradwatch::cli {
namespace {

bool HasLimit(const ClipSetOptions& options) {
  return options.max_norm.has_value() || options.max_value.has_value() || options.factor.has_value();
}

// What the threshold of a mode is: numbers of two kinds mean nothing in place of each other.
enum class Limit { kNone, kNorm, kValue, kFactor };

Limit LimitOf(v1::ClipMode mode) {
  switch (mode) {
    case v1::CLIP_MODE_GLOBAL_NORM:
    case v1::CLIP_MODE_TENSOR_NORM:
      return Limit::kNorm;
    case v1::CLIP_MODE_VALUE:
      return Limit::kValue;
    case v1::CLIP_MODE_ADAPTIVE:
      return Limit::kFactor;
    default:
      return Limit::kNone;
  }
}

// Each limit goes with the modes that read it, if a mode is named at all.
absl::Status CheckLimits(const ClipSetOptions& options) {
  if (options.mode == v1::CLIP_MODE_UNSPECIFIED) return absl::OkStatus();
  const Limit limit = LimitOf(options.mode);
  if (options.max_norm.has_value() && limit != Limit::kNorm) {
    return absl::InvalidArgumentError("--max-norm goes with --mode global_norm or tensor_norm only");
  }
  if (options.max_value.has_value() && limit != Limit::kValue) {
    return absl::InvalidArgumentError("--max-value goes with --mode value only");
  }
  if (options.factor.has_value() && limit != Limit::kFactor) {
    return absl::InvalidArgumentError("--factor goes with --mode adaptive only");
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ClipSetOptions& options) {
  const bool has_non_finite = options.non_finite != v1::NON_FINITE_ACTION_UNSPECIFIED;
  if (!options.tensors.empty() && has_non_finite) {
    return absl::InvalidArgumentError("--non-finite goes for all tensors, not with --tensors");
  }
  if (!HasLimit(options) && options.numbers.empty() && options.mode == v1::CLIP_MODE_UNSPECIFIED && !has_non_finite) {
    return absl::InvalidArgumentError(
        "nothing to set: give --max-norm, --max-value, --factor, --mode, --set or --non-finite");
  }
  if (!options.tensors.empty() && !options.numbers.empty()) {
    return absl::InvalidArgumentError("--set goes for all tensors, not with --tensors");
  }
  if (!options.tensors.empty() && !HasLimit(options) && options.mode != v1::CLIP_MODE_NONE) {
    return absl::InvalidArgumentError("give the limit: --max-norm, --max-value or --factor");
  }
  return CheckLimits(options);
}

// The mode that the options name, or that their limit can only mean; unspecified if what there is decides.
v1::ClipMode NamedMode(const ClipSetOptions& options) {
  if (options.mode != v1::CLIP_MODE_UNSPECIFIED) return options.mode;
  if (options.max_value.has_value()) return v1::CLIP_MODE_VALUE;
  return options.factor.has_value() ? v1::CLIP_MODE_ADAPTIVE : v1::CLIP_MODE_UNSPECIFIED;
}

double LimitValue(const ClipSetOptions& options) {
  return options.max_norm.value_or(options.max_value.value_or(options.factor.value_or(0)));
}

// Whether the edit that the options ask for depends on the settings that it will find.
bool DependsOnPresent(const ClipSetOptions& options) {
  if (!options.tensors.empty()) return false;
  const v1::ClipMode mode = NamedMode(options);
  if (HasLimit(options)) return mode == v1::CLIP_MODE_UNSPECIFIED;
  return mode == v1::CLIP_MODE_UNSPECIFIED ? !options.numbers.empty() : LimitOf(mode) != Limit::kNone;
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

void SetMode(v1::ClipMode mode, v1::AdjustJobRequest* request) {
  request->mutable_controls()->mutable_clip()->set_mode(mode);
  request->mutable_update_mask()->add_paths("clip.mode");
}

void SetThreshold(double threshold, v1::AdjustJobRequest* request) {
  request->mutable_controls()->mutable_clip()->set_threshold(threshold);
  request->mutable_update_mask()->add_paths("clip.threshold");
}

absl::Status AskForLimit(v1::ClipMode mode) {
  const Limit limit = LimitOf(mode);
  const char* const what = limit == Limit::kNorm    ? "norm: give --max-norm"
                           : limit == Limit::kValue ? "value: give --max-value"
                                                    : "fraction of weights: give --factor";
  return absl::InvalidArgumentError(
      absl::StrCat("mode ", client::Word(mode), " needs a limit, and not all that hold or wait are a ", what));
}

// A mode without its limit: the limit stays, if there is one of this kind, whatever the edits that wait make of it. A
// norm or a value has no default. A fraction of weights has one, which is no answer where somebody has given a
// fraction. Until a step that is named (`for_later`) anybody may set a limit of another kind, and an edit that waits
// may be withdrawn: what was found is sent then.
absl::Status SetModeAlone(v1::ClipMode mode, const FoundMode& found, bool for_later, v1::AdjustJobRequest* request) {
  const Limit limit = LimitOf(mode);
  const auto is_of_kind = [limit](v1::ClipMode other) { return LimitOf(other) == limit; };
  SetMode(mode, request);
  if (limit == Limit::kNone) return absl::OkStatus();
  const bool was = is_of_kind(found.in_force), fits = is_of_kind(found.mode);
  const bool is_new = !was && !fits && std::none_of(found.waiting.begin(), found.waiting.end(), is_of_kind);
  const bool stays = fits && std::all_of(found.waiting.begin(), found.waiting.end(), is_of_kind);
  const bool is_fraction = limit == Limit::kFactor, may_change = for_later || !was;
  if (is_new ? !is_fraction : !stays) return AskForLimit(mode);
  if (!is_new && !may_change) return absl::OkStatus();
  if (!is_new && found.threshold > 0) {
    SetThreshold(found.threshold, request);
  } else if (is_fraction) {
    request->mutable_update_mask()->add_paths("clip.threshold");  // without a value: the default
  } else {
    return AskForLimit(mode);
  }
  return absl::OkStatus();
}

// The settings of all tensors that have no limit of their own.
absl::Status SetForAll(const ClipSetOptions& options, const FoundMode& found, v1::AdjustJobRequest* request) {
  const bool is_named = NamedMode(options) != v1::CLIP_MODE_UNSPECIFIED;
  const v1::ClipMode present = found.mode;
  // A limit that names no mode is a norm.
  const bool fits = !HasLimit(options) || LimitOf(present) == Limit::kNorm;
  const v1::ClipMode unnamed = fits ? present : v1::CLIP_MODE_GLOBAL_NORM;
  const v1::ClipMode mode = is_named ? NamedMode(options) : unnamed;
  const absl::Status status = SetNumbers(options.numbers, mode, request);
  if (!status.ok()) return status;
  const bool for_later = options.adjusting.at_step.has_value();
  if (!HasLimit(options)) return is_named ? SetModeAlone(mode, found, for_later, request) : absl::OkStatus();
  // A mode that reads a norm, and that nobody named here, is left to whoever sets it, if that can be no other: else the
  // norm might be taken for the largest value of an element. Until a step that is named anybody may set another one.
  const bool may_change = !found.waiting.empty() || for_later;
  if (is_named || !fits || may_change) SetMode(mode, request);
  SetThreshold(LimitValue(options), request);
  return absl::OkStatus();
}

// The override of this very glob, and no other.
void SetOverride(const ClipSetOptions& options, v1::AdjustJobRequest* request) {
  v1::TensorClip* wanted = request->mutable_controls()->mutable_clip()->add_overrides();
  const v1::ClipMode named = NamedMode(options);
  wanted->set_tensors(options.tensors);
  wanted->set_mode(named == v1::CLIP_MODE_UNSPECIFIED ? v1::CLIP_MODE_TENSOR_NORM : named);
  if (HasLimit(options)) wanted->set_threshold(LimitValue(options));
  request->mutable_update_mask()->add_paths(OverridePath(options.tensors));
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
                  "Only tensors that match this glob get this limit, before all other globs that match them; `clip "
                  "unset` takes it away")
      ->check(NotEmpty());
  AddWordOption(*app, "--non-finite", options->non_finite,
                "On NaN and infinities in any tensor: skip_step, zero, stop");
  return app;
}

CLI::App* AddClipUnset(CLI::App& parent, ClipUnsetOptions* options) {
  CLI::App* app = parent.add_subcommand(
      "unset", "Take away the limit that some tensors have of their own, so that they are limited as all are");
  AddAdjustingOptions(*app, &options->adjusting);
  app->add_option("--tensors", options->tensors, "The glob of that limit, as `clip get` shows it")
      ->required()
      ->check(NotEmpty());
  return app;
}

absl::StatusOr<v1::AdjustJobRequest> MakeClipRequest(const ClipSetOptions& options, const FoundMode& present) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  v1::AdjustJobRequest request;
  if (options.tensors.empty()) {
    status = SetForAll(options, present, &request);
    if (!status.ok()) return status;
  } else {
    SetOverride(options, &request);
  }
  if (options.non_finite != v1::NON_FINITE_ACTION_UNSPECIFIED) {
    request.mutable_controls()->mutable_clip()->set_non_finite(options.non_finite);
    request.mutable_update_mask()->add_paths("clip.non_finite");
  }
  return request;
}

absl::StatusOr<ExitCode> RunClipSet(const ClipSetOptions& options, Session& session) {
  const absl::Status status = CheckOptions(options);  // before the server is asked
  if (!status.ok()) return status;
  const MakeAdjustment make = [&](const v1::Job& job) -> absl::StatusOr<v1::AdjustJobRequest> {
    if (!DependsOnPresent(options)) return MakeClipRequest(options, {});
    const absl::StatusOr<FoundMode> present = ReadModeUpTo(options.adjusting.at_step, job, session);
    if (!present.ok()) return present.status();
    absl::StatusOr<v1::AdjustJobRequest> request = MakeClipRequest(options, *present);
    if (request.ok()) request->set_etag(job.etag());
    return request;
  };
  return Adjust(options.adjusting, make, session);
}

absl::StatusOr<ExitCode> RunClipUnset(const ClipUnsetOptions& options, Session& session) {
  v1::AdjustJobRequest request;
  request.mutable_update_mask()->add_paths(OverridePath(options.tensors));  // without a value: it goes
  return Adjust(
      options.adjusting, [&request](const v1::Job&) { return request; }, session);
}

}  // namespace gradwatch::cli
