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
  bool ranges = false;
  std::vector<std::string> tensors;
  absl::optional<int64_t> until_step;
  bool events_only = false;
  v1::Severity fail_on_alert = v1::SEVERITY_UNSPECIFIED;  // unspecified: go on
};

CLI::App* AddWatch(CLI::App& parent, WatchOptions* options);

// Ends as the job ends: success, failure or kStopped, NOT_FOUND if it is deleted meanwhile. Success when `until_step`
// was printed and kAlert when an alert fired that is bad enough; nothing that came after is printed. Ctrl-C and the
// timeout are errors. Where the job may go on a note says how to.
absl::StatusOr<ExitCode> RunWatch(const WatchOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WATCH_H_
