// The rules behind the names that RuleSet.preset may have.
#ifndef GRADWATCH_CORE_DETECT_PRESETS_H_
#define GRADWATCH_CORE_DETECT_PRESETS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// What an unset RuleSet.preset stands for.
inline constexpr absl::string_view kDefaultPreset = "gradwatch";
// No rules.
inline constexpr absl::string_view kNoPreset = "none";

// All names, the two above first and those after other tools in alphabetical order.
std::vector<std::string> PresetNames();

// Whether there is a preset of this name.
bool IsPreset(absl::string_view name);

// The rules of a preset as they are written, so with fields unset that have their defaults; "": the default preset.
// None for a name that is no preset. The set itself names no preset. Lives for ever; thread-safe.
const v1::RuleSet& PresetRules(absl::string_view name);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_PRESETS_H_
