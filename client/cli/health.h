// gradwatch health and version: is the server there, what does it allow and store, and which versions are these.
#ifndef GRADWATCH_CLIENT_CLI_HEALTH_H_
#define GRADWATCH_CLIENT_CLI_HEALTH_H_

#include <CLI/App.hpp>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct HealthOptions {};
struct VersionOptions {};

CLI::App* AddHealth(CLI::App& parent, HealthOptions* options);
CLI::App* AddVersion(CLI::App& parent, VersionOptions* options);

// UNAVAILABLE if there is no server or it does not serve.
absl::StatusOr<ExitCode> RunHealth(const HealthOptions& options, Session& session);
// This program's version; the server is not asked.
absl::StatusOr<ExitCode> RunVersion(const VersionOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_HEALTH_H_
