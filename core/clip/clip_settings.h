// What clip settings may be, and their defaults. Needs no network; the server uses it too.
#ifndef GRADWATCH_CORE_CLIP_CLIP_SETTINGS_H_
#define GRADWATCH_CORE_CLIP_CLIP_SETTINGS_H_

#include "absl/status/status.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Checks ClipSettings: modes, numbers in range, globs; the numbers of modes that are not in use too. Violations are
// relative to the settings ("threshold", "zclip.alpha").
absl::Status ValidateClipSettings(const v1::ClipSettings& settings);

// Whether the mode reads the threshold, if there is one, so that nobody takes a number for a limit. For what somebody
// writes: one that was read before a change of the mode is kept, and not read. A mode that does not exist is no matter
// of this.
absl::Status CheckThresholdIsRead(const v1::ClipSettings& settings);

// Valid settings with every default filled in; of the messages of single modes only that of the mode in use.
v1::ClipSettings ResolveClipSettings(const v1::ClipSettings& settings);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_CLIP_SETTINGS_H_
