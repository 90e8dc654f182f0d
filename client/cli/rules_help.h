// gradwatch rules conditions and rules presets: what rules can be made of, and the sets that have a name.
#ifndef GRADWATCH_CLIENT_CLI_RULES_HELP_H_
#define GRADWATCH_CLIENT_CLI_RULES_HELP_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct RulesConditionsOptions {
  std::string name;  // empty: all
};

struct RulesPresetsOptions {
  std::string name;  // empty: their names
};

CLI::App* AddRulesConditions(CLI::App& parent, RulesConditionsOptions* options);
CLI::App* AddRulesPresets(CLI::App& parent, RulesPresetsOptions* options);

// Asks no server. INVALID_ARGUMENT: there is no condition of this name.
absl::StatusOr<ExitCode> RunRulesConditions(const RulesConditionsOptions& options, Session& session);
// The rules of a preset in full, as YAML that RunRulesApply reads, are those of the server, which is asked; their names
// are those that this program knows.
absl::StatusOr<ExitCode> RunRulesPresets(const RulesPresetsOptions& options, Session& session);

// The preset of a job that names none.
inline constexpr char kDefaultPreset[] = "gradwatch";

// What this program knows of presets: a line each.
struct PresetLine {
  const char* name;
  const char* text;
};
std::vector<PresetLine> KnownPresets();

// An error about rules with this preset; where the server refuses a preset that this program does not know either, with
// the one that is meant most likely.
absl::Status WithNearPreset(const absl::Status& status, const std::string& preset);

// All rules of a preset, as the server resolves them. INVALID_ARGUMENT: it has none of this name.
absl::StatusOr<v1::RuleSet> ReadPreset(const std::string& name, const Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULES_HELP_H_
