// Checks and changes the controls of a job.
#ifndef GRADWATCH_CORE_SPEC_CONTROLS_H_
#define GRADWATCH_CORE_SPEC_CONTROLS_H_

#include <google/protobuf/field_mask.pb.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::core {

// Checks controls as somebody writes them in a spec. Violations are relative to the Controls ("clip.threshold");
// numbers must be finite, a clip threshold one that the mode reads, and rules are those of the spec, not of these.
absl::Status ValidateControls(const v1::Controls& controls);

// What rules may keep for their windows: a trainer takes it between two steps, and all of it may
// take a second.
inline constexpr int64_t kMaxRuleBytes = int64_t{128} << 20;

// Whether resolved rules keep no more than kMaxRuleBytes over these tensors, as far as they are known.
// INVALID_ARGUMENT, with the reason QUOTA_MEMORY and the field "rules", if not.
absl::Status CheckRulesFit(const v1::RuleSet& rules, const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors);

// Controls.histogram_every where it is unset: also in controls that were resolved before there was one.
inline constexpr int32_t kHistogramEvery = 16;

// Controls with every default filled in. For valid controls.
v1::Controls ResolveControls(const v1::Controls& controls);

// The rules of a job: those of its controls, if they have any, else those of its spec. Resolved where these are.
const v1::RuleSet& EffectiveRules(const v1::JobSpec& spec, const v1::Controls& controls);

// Whether these controls can hold with this optimizer: clip mode SPAM needs a second moment (Adam, AdamW). Violations
// are relative to the Controls.
absl::Status CheckControlsFit(const v1::Controls& controls, const v1::OptimizerSpec& optimizer);

// Whether every override of the clip matches some of these tensors, so that a misspelt name does not pass for a limit.
// Violations are relative to the Controls.
absl::Status CheckOverridesMatch(const v1::Controls& controls,
                                 const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors);

// Whether every path of a change is one: fields and fields of their messages, as deep as those go ("clip", "clip.mode",
// "clip.zclip.alpha"), but of "rules" only all of them, and clip.overrides.`GLOB`, whose glob may hold dots.
// INVALID_ARGUMENT, reason BAD_UPDATE_MASK, field "update_mask": another path, none, or more than 256.
absl::Status CheckChangePaths(const google::protobuf::FieldMask& mask);

// Of `changes` only what the paths, which CheckChangePaths accepts, name. Applied with them it makes the same change.
v1::Controls ValuesAt(const v1::Controls& changes, const google::protobuf::FieldMask& mask);

// `current` (resolved) with the paths of `mask` taken from `changes`, checked and resolved. A path whose value is unset
// in `changes` goes back to its default; a clip mode must be named, though, where a clip or its mode is changed, so
// that nobody ends clipping by leaving it out. Rules that are unset are those of the spec again. The path of an
// override makes it the one that `changes` has for its glob, in its place or before all others, or removes it if there
// is none. INVALID_ARGUMENT: as CheckChangePaths; an override to remove that is not there; a threshold, where
// "clip.threshold" or "clip" is a path, that the mode then does not read; a value that must not be (violations relative
// to Controls). Nothing is applied then.
absl::StatusOr<v1::Controls> ApplyControlChanges(const v1::Controls& current, const v1::Controls& changes,
                                                 const google::protobuf::FieldMask& mask);

// `to` gets `path`, which is one, from `changes`, unset if it is unset there, neither checked nor resolved: for what
// holds only between two changes.
void CopyControlPath(const std::string& path, const v1::Controls& changes, v1::Controls* to);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_CONTROLS_H_
