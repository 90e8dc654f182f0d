// Controls and what became of them, as people read them.
#ifndef GRADWATCH_CLIENT_CLI_CONTROLS_TEXT_H_
#define GRADWATCH_CLIENT_CLI_CONTROLS_TEXT_H_

#include <google/protobuf/descriptor.h>

#include <string>

#include "absl/strings/string_view.h"
#include "client/cli/json.h"
#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::cli {

// The field of ClipSettings with the numbers of a mode of its own ("zclip"); null if the mode has none.
const google::protobuf::FieldDescriptor* ModeField(v1::ClipMode mode);

// "global_norm 1", "autoclip (percentile 10, history 10000)", "none", "tensor_norm 1, rnn0.*: value 0.5, non-finite:
// zero".
std::string ClipText(const v1::ClipSettings& clip);

// The path of a change of the override of exactly this glob: "clip.overrides.`rnn*`".
std::string OverridePath(absl::string_view glob);

// What an edit asks for, path by path: "clip.mode: global_norm, clip.threshold: 1, clip.overrides.`rnn*`: removed".
std::string EditText(const v1::Adjustment& edit);

// The same for programs: edit, paths, values, at_step, actor, request_time, withdrawn_by; of the values, what is set,
// and of the last four, those that are known.
JsonObject EditJson(const v1::Adjustment& edit);

// What is not as the (resolved) spec says, but for the clip: "learning_rate_scale 0.5, report_every 10, rules of its
// own"; "" if nothing is.
std::string SettingsText(const v1::JobSpec& spec, const v1::Controls& controls);

// What differs: "clip: none -> global_norm 1, learning_rate_scale: 1 -> 0.5, rules: added mine"; "no change" if
// nothing does.
std::string ChangeText(const v1::Controls& before, const v1::Controls& after);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CONTROLS_TEXT_H_
