// Checks job specs, the data files that they name included, where a hostile or huge file can hurt nobody.
#ifndef GRADWATCH_SERVER_JOB_SPEC_CHECKER_H_
#define GRADWATCH_SERVER_JOB_SPEC_CHECKER_H_

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "core/spec/job_spec.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::server {

// Thread-safe.
class SpecChecker {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<core::ValidatedJob>)>;

  virtual ~SpecChecker() = default;
  // Returns at once. `done` runs once, on a thread of the checker (or before Check returns). Errors as
  // core::ValidateJob; besides RESOURCE_EXHAUSTED: the check took too much memory or time, or too many wait already;
  // UNKNOWN: it ended without an answer; UNAVAILABLE: it could not be started.
  virtual void Check(v1::JobSpec spec, Done done) = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_SPEC_CHECKER_H_
