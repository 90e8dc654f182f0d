// gradwatch job get: all about a job.
#ifndef GRADWATCH_CLIENT_CLI_JOB_GET_H_
#define GRADWATCH_CLIENT_CLI_JOB_GET_H_

#include <CLI/App.hpp>
#include <string>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct JobGetOptions {
  std::string job_id;
};

CLI::App* AddJobGet(CLI::App& parent, JobGetOptions* options);
absl::StatusOr<ExitCode> RunJobGet(const JobGetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JOB_GET_H_
