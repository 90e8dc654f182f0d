// gradwatch job pause, resume, stop, delete: ask for a change of a job's state.
#ifndef GRADWATCH_CLIENT_CLI_JOB_CHANGE_H_
#define GRADWATCH_CLIENT_CLI_JOB_CHANGE_H_

#include <CLI/App.hpp>
#include <string>

#include "absl/types/optional.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

// Of pause and resume.
struct JobChangeOptions {
  std::string job_id;
};

struct JobStopOptions {
  std::string job_id;
  absl::optional<double> grace_seconds;
  bool now = false;
};

struct JobDeleteOptions {
  std::string job_id;
  bool force = false;
  bool allow_missing = false;
  std::string if_etag;
  std::string if_uid;
};

CLI::App* AddJobPause(CLI::App& parent, JobChangeOptions* options);
CLI::App* AddJobResume(CLI::App& parent, JobChangeOptions* options);
CLI::App* AddJobStop(CLI::App& parent, JobStopOptions* options);
CLI::App* AddJobDelete(CLI::App& parent, JobDeleteOptions* options);

// They return when the server has taken the request; `job wait` waits for the end.
absl::StatusOr<ExitCode> RunJobPause(const JobChangeOptions& options, Session& session);
absl::StatusOr<ExitCode> RunJobResume(const JobChangeOptions& options, Session& session);
absl::StatusOr<ExitCode> RunJobStop(const JobStopOptions& options, Session& session);
absl::StatusOr<ExitCode> RunJobDelete(const JobDeleteOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JOB_CHANGE_H_
