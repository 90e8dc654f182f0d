// The rules that benches compare: the product's own, and those that are named after other tools.
#ifndef GRADWATCH_TESTS_BENCH_RULE_SETS_H_
#define GRADWATCH_TESTS_BENCH_RULE_SETS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::testing {

struct NamedRules {
  std::string name;
  v1::RuleSet rules;
};

// The rules of a preset. INVALID_ARGUMENT: there is none of this name.
inline absl::StatusOr<NamedRules> PresetRules(const std::string& preset) {
  NamedRules named{preset, {}};
  named.rules.set_preset(preset);
  GW_RETURN_IF_ERROR(core::ValidateRules(named.rules));
  return named;
}

// The presets after other tools, by names that say that they are presets: "preset keras". None is all of its tool: what
// each lacks is told in core/detect/presets.cc.
inline std::vector<NamedRules> RivalRules() {
  std::vector<NamedRules> rivals;
  for (const std::string& preset : core::PresetNames()) {
    if (preset == core::kDefaultPreset || preset == core::kNoPreset) continue;
    rivals.push_back(PresetRules(preset).value());
    rivals.back().name = absl::StrCat("preset ", preset);
  }
  return rivals;
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_RULE_SETS_H_
