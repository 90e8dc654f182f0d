// gradwatch job wait: returns when a job has ended; the exit code says how.
#ifndef GRADWATCH_CLIENT_CLI_JOB_WAIT_H_
#define GRADWATCH_CLIENT_CLI_JOB_WAIT_H_

#include <CLI/App.hpp>
#include <string>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct JobWaitOptions {
  std::string job_id;
};

CLI::App* AddJobWait(CLI::App& parent, JobWaitOptions* options);
absl::StatusOr<ExitCode> RunJobWait(const JobWaitOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JOB_WAIT_H_
