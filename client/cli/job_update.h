// gradwatch job update: changes what people call a job, how they label it, and how much of it is kept.
#ifndef GRADWATCH_CLIENT_CLI_JOB_UPDATE_H_
#define GRADWATCH_CLIENT_CLI_JOB_UPDATE_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/cli/retention.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct JobUpdateOptions {
  std::string job_id;
  absl::optional<std::string> name;
  std::vector<std::string> labels;  // KEY=VALUE sets, KEY- removes
  RetentionOptions retention;
  bool keep_default = false;  // as much as the server keeps of every job
  std::string if_etag;
};

CLI::App* AddJobUpdate(CLI::App& parent, JobUpdateOptions* options);

// Labels that are not named stay, and so does the bound of the retention that is not: they are read first, and again if
// somebody else was faster (unless the user gave an etag). INVALID_ARGUMENT if the options say nothing.
absl::StatusOr<ExitCode> RunJobUpdate(const JobUpdateOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JOB_UPDATE_H_
