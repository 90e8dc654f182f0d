// gradwatch rules get and rules apply: the rules by which a job is judged, and others in their place while it runs.
#ifndef GRADWATCH_CLIENT_CLI_RULES_H_
#define GRADWATCH_CLIENT_CLI_RULES_H_

#include <CLI/App.hpp>
#include <string>

#include "client/cli/adjusting.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct RulesGetOptions {
  std::string job_id;
};

struct RulesApplyOptions {
  AdjustingOptions adjusting;
  std::string file;    // with a RuleSet; "-" is standard input
  std::string preset;  // of this name, in place of a file
  bool dry_run = false;
};

CLI::App* AddRulesGet(CLI::App& parent, RulesGetOptions* options);
CLI::App* AddRulesApply(CLI::App& parent, RulesApplyOptions* options);

// What is printed as JSON or YAML, RunRulesApply reads.
absl::StatusOr<ExitCode> RunRulesGet(const RulesGetOptions& options, Session& session);
// An edit as those of `clip set` and `adjust`, with what they print; of a dry run the rules as `rules get` prints them.
// INVALID_ARGUMENT: neither file nor preset, or a file that holds no rules.
absl::StatusOr<ExitCode> RunRulesApply(const RulesApplyOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULES_H_
