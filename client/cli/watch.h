// gradwatch watch: the events and statistics of a job as they come.
#ifndef GRADWATCH_CLIENT_CLI_WATCH_H_
#define GRADWATCH_CLIENT_CLI_WATCH_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct WatchOptions {
  std::string job_id;
  bool from_beginning = false;
  absl::optional<int64_t> from_step;
  std::string resume_token;
  int64_t every = 0;
  std::vector<std::string> tensors;
  absl::optional<int64_t> until_step;
  bool events_only = false;
  v1::Severity fail_on_alert = v1::SEVERITY_UNSPECIFIED;  // unspecified: go on
};

CLI::App* AddWatch(CLI::App& parent, WatchOptions* options);

// Success when the stream ends or `until_step` was reached, kAlert when an alert fired that is bad enough. Ctrl-C and
// the timeout are errors; then a note says how to go on.
absl::StatusOr<ExitCode> RunWatch(const WatchOptions& options, Session& session);

// The same, but the exit code is that of the job's final state.
absl::StatusOr<ExitCode> Follow(const WatchOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WATCH_H_
