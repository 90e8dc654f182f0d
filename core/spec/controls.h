// Checks and changes the controls of a job.
#ifndef GRADWATCH_CORE_SPEC_CONTROLS_H_
#define GRADWATCH_CORE_SPEC_CONTROLS_H_

#include <google/protobuf/field_mask.pb.h>

#include <string>

#include "absl/status/statusor.h"
#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/job.pb.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::core {

// Checks controls. Violations are relative to the Controls ("clip.threshold"); numbers must be finite.
absl::Status ValidateControls(const v1::Controls& controls);

// Controls with every default filled in. For valid controls.
v1::Controls ResolveControls(const v1::Controls& controls);

// Whether these controls can hold with this optimizer: clip mode SPAM needs a second moment (Adam, AdamW). Violations
// are relative to the Controls.
absl::Status CheckControlsFit(const v1::Controls& controls, const v1::OptimizerSpec& optimizer);

// Whether every override of the clip matches some of these tensors, so that a misspelt name does not pass for a limit.
// Violations are relative to the Controls.
absl::Status CheckOverridesMatch(const v1::Controls& controls,
                                 const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors);

// `current` (resolved) with the paths of `mask` taken from `changes`, checked and resolved. Paths are fields and fields
// of their messages, as deep as those go ("clip", "clip.mode", "clip.zclip.alpha"). A path whose value is unset
// in `changes` goes back to its default; a clip mode must be named, though, where a clip or its mode is changed, so
// that nobody ends clipping by leaving it out. INVALID_ARGUMENT: an empty mask or an unknown path (reason
// BAD_UPDATE_MASK, field "update_mask"), a value that must not be (violations relative to Controls). Nothing is applied
// then.
absl::StatusOr<v1::Controls> ApplyControlChanges(const v1::Controls& current, const v1::Controls& changes,
                                                 const google::protobuf::FieldMask& mask);

// `to` gets `path`, which is one, from `changes`, unset if it is unset there, neither checked nor resolved: for what
// holds only between two changes.
void CopyControlPath(const std::string& path, const v1::Controls& changes, v1::Controls* to);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_CONTROLS_H_
