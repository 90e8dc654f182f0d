// gradwatch rules set: fields of one rule of a job, all else as it is.
#ifndef GRADWATCH_CLIENT_CLI_RULES_SET_H_
#define GRADWATCH_CLIENT_CLI_RULES_SET_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/adjusting.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct RulesSetOptions {
  AdjustingOptions adjusting;
  std::string rule;
  std::vector<std::string> assignments;  // "severity=critical", "loss_jump.factor=4"
};

CLI::App* AddRulesSet(CLI::App& parent, RulesSetOptions* options);

// `rules`, as a server fills them in, with fields of one of them set; `off=true` takes it out. What bounds another
// field and is not set itself follows it as it would in a file: within_steps of a rule that asks for steps in a row,
// and the warm_up of a whole window. INVALID_ARGUMENT: no such rule or field, a field of a condition that the rule does
// not have, or one that is no wish.
absl::StatusOr<v1::RuleSet> SetInRules(v1::RuleSet rules, const std::string& name,
                                       const std::vector<std::string>& assignments);

// An edit of all rules, guarded by the etag: those that it will find, with the fields set. Prints what `rules apply`
// prints.
absl::StatusOr<ExitCode> RunRulesSet(const RulesSetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULES_SET_H_
