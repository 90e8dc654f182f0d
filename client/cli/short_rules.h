// Rules as a person would write them: a preset by its name, and how they differ from it.
#ifndef GRADWATCH_CLIENT_CLI_SHORT_RULES_H_
#define GRADWATCH_CLIENT_CLI_SHORT_RULES_H_

#include <optional>
#include <string>

#include "client/cli/session.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::cli {

// The set that names `preset`, whose rules are `preset_rules`, and says of `rules` only what is not so there; applied,
// it gives `rules`. Both as a server fills them in. None: it cannot be said so, for example where the order is another.
std::optional<v1::RuleSet> RulesByPreset(const v1::RuleSet& rules, const std::string& preset,
                                         const v1::RuleSet& preset_rules);

// The shortest of these sets, of all presets that the server has; `rules` itself where none is shorter, or the server
// does not say. Without what a server says of each rule beside: from when it can judge, or why not.
v1::RuleSet ShortRules(const v1::RuleSet& rules, const Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_SHORT_RULES_H_
