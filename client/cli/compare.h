// gradwatch compare: the loss curves of several jobs side by side.
#ifndef GRADWATCH_CLIENT_CLI_COMPARE_H_
#define GRADWATCH_CLIENT_CLI_COMPARE_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct CompareOptions {
  std::vector<std::string> job_ids;
  bool plain = false;
  int width = 0;  // 0: the terminal's
  int height = 12;
};

CLI::App* AddCompare(CLI::App& parent, CompareOptions* options);

// Reads what is kept of each job up to now and prints it; it does not wait for the jobs' ends.
absl::StatusOr<ExitCode> RunCompare(const CompareOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_COMPARE_H_
