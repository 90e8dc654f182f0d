// gradwatch job list: the jobs of the server, newest first.
#ifndef GRADWATCH_CLIENT_CLI_JOB_LIST_H_
#define GRADWATCH_CLIENT_CLI_JOB_LIST_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct JobListOptions {
  std::vector<v1::JobState> states;  // empty: all
  int limit = 100;
  std::string page_token;                       // empty: from the first
  v1::JobView view = v1::JOB_VIEW_UNSPECIFIED;  // unspecified: BASIC
};

CLI::App* AddJobList(CLI::App& parent, JobListOptions* options);
absl::StatusOr<ExitCode> RunJobList(const JobListOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JOB_LIST_H_
