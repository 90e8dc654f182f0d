// The exit codes of gradwatch, for scripts. They never change their meaning.
#ifndef GRADWATCH_CLIENT_CLI_EXIT_CODE_H_
#define GRADWATCH_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::cli {

enum class ExitCode {
  kSuccess = 0,
  kFailure = 1,      // the job failed, or an error of no other kind
  kUsage = 2,        // wrong arguments or an invalid spec
  kUnreachable = 3,  // no server
  kNotAllowed = 4,   // authentication or permission
  kNotFound = 5,
  kConflict = 6,   // state, version or duplicate
  kExhausted = 7,  // a quota or the queue is full
  kStopped = 8,    // the job was stopped
  kAlert = 9,      // --fail-on-alert
  kTimeout = 124,
  kInterrupted = 130,  // Ctrl-C
};

ExitCode ExitCodeOf(const absl::Status& status);

// SUCCEEDED: success, FAILED: failure, STOPPED: stopped; a state that is not final: failure.
ExitCode ExitCodeOf(v1::JobState state);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_EXIT_CODE_H_
