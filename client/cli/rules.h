// gradwatch rules get and rules apply: the rules by which a job is judged, and others in their place while it runs.
#ifndef GRADWATCH_CLIENT_CLI_RULES_H_
#define GRADWATCH_CLIENT_CLI_RULES_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/adjusting.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct RulesGetOptions {
  std::string job_id;
};

struct RulesApplyOptions {
  AdjustingOptions adjusting;
  std::string file;      // with a RuleSet; "-" is standard input
  std::string preset;    // of this name, in place of a file
  bool of_spec = false;  // back to those of the spec, in place of both
  bool dry_run = false;
};

// What --preset may name: those of core/detect, which a client does not share; the server has the last word.
const std::vector<std::string>& PresetNames();

absl::StatusOr<v1::RuleSet> RulesInForce(const std::string& job_id, const Session& session);

// As an edit of the controls the server names their fields below "controls", in a check of the rules it does not:
// without that.
absl::Status WithoutControls(const absl::Status& status);

CLI::App* AddRulesGet(CLI::App& parent, RulesGetOptions* options);
CLI::App* AddRulesApply(CLI::App& parent, RulesApplyOptions* options);

// What is printed as JSON or YAML, RunRulesApply reads.
absl::StatusOr<ExitCode> RunRulesGet(const RulesGetOptions& options, Session& session);
// An edit as those of `clip set` and `adjust`, with what they print; of a dry run what would change and the rules.
// INVALID_ARGUMENT: nothing to apply, or a file that has neither rules nor a preset.
absl::StatusOr<ExitCode> RunRulesApply(const RulesApplyOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULES_H_
