// How the worker tells its caller what became of it; the same numbers as those of the command line.
#ifndef GRADWATCH_CLIENT_WORKER_EXIT_CODE_H_
#define GRADWATCH_CLIENT_WORKER_EXIT_CODE_H_

#include "absl/status/status.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::worker {

enum ExitCode : int {
  kSuccess = 0,
  kFailure = 1,
  kUsage = 2,        // or an invalid spec
  kUnreachable = 3,  // no server, for a day
  kPermission = 4,
  kNotFound = 5,
  kConflict = 6,  // another trainer has taken over, or the job has ended
  kStopped = 8,
};

// For a run that could not be made.
ExitCode ExitCodeOf(const absl::Status& status);
// For a run that ended.
ExitCode ExitCodeOf(v1::JobState state);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_EXIT_CODE_H_
