// gradwatch submit: sends a job to the server.
#ifndef GRADWATCH_CLIENT_CLI_SUBMIT_H_
#define GRADWATCH_CLIENT_CLI_SUBMIT_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/retention.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct SubmitOptions {
  std::string spec;                      // path of a YAML, JSON or textproto file
  std::vector<std::string> assignments;  // "path=value"
  std::string name;
  std::string job_id;
  RetentionOptions retention;
  bool follow = false;
  bool dry_run = false;
};

CLI::App* AddSubmit(CLI::App& parent, SubmitOptions* options);

// Of a job that a foreign program trains (spec.external) the token with which it attaches is told, also with `follow`,
// which then waits for it: in JSON and YAML as the first object of the stream ("submitted"), else on the error stream,
// as where the output cannot be written. What was taken for granted about the data (Job.data) is told on the error
// stream. With `follow` the exit code is that of the job's end. With `dry_run` prints the spec as the server would take
// it, with the defaults of controls, rules and optimizer filled in; those of layers and data are in the protocol.
absl::StatusOr<ExitCode> RunSubmit(const SubmitOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_SUBMIT_H_
