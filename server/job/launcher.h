// What the manager needs of processes: trainers are started and their ends told, and specs are checked.
#ifndef GRADWATCH_SERVER_JOB_LAUNCHER_H_
#define GRADWATCH_SERVER_JOB_LAUNCHER_H_

#include <cstdint>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/spec/job_spec.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::server {

// What a trainer needs to attach.
struct LaunchRequest {
  std::string job_id;
  std::string uid;
  int32_t attempt = 1;
  std::string attach_token;  // secret; never in arguments or environment, which others can read
};

// The file in which the trainer of an attempt leaves what it could not tell (core/base/last_words_file.h).
std::string LastWordsFile(absl::string_view words_folder, absl::string_view uid, int32_t attempt);

// How a process ended.
struct ProcessEnd {
  int exit_code = 0;        // if signal is 0
  int signal = 0;           // that killed it
  bool unknown = false;     // it is gone, but it was not our child, so nobody knows how
  std::string last_output;  // the last lines that it wrote to standard error; may be empty

  // "killed by signal 9 (SIGKILL)", "ended with exit code 1: <last line>", with nothing that could steer a terminal.
  std::string ToString() const;
};

// Thread-safe.
class Launcher {
 public:
  virtual ~Launcher() = default;
  // Starts a trainer; a handle of it, in words that mean something to this launcher alone, and not empty. It is stored,
  // and outlives the server. `ended` runs once, on a thread of the launcher, when the trainer has ended. Errors name
  // what could not be started and why; nothing is left behind then.
  virtual absl::StatusOr<std::string> Launch(const LaunchRequest& request,
                                             absl::AnyInvocable<void(const ProcessEnd&)> ended) = 0;
  // Watches a trainer that an earlier life of this server started. `ended` as above, also if it is gone already, or the
  // handle is none of this launcher's.
  virtual void Adopt(const std::string& handle, const LaunchRequest& request,
                     absl::AnyInvocable<void(const ProcessEnd&)> ended) = 0;
  // Ends a trainer at once if it is one that Launch or Adopt knows and it is still there.
  virtual void Kill(const std::string& handle) = 0;
  // Forgets what the trainers of a job wrote, their last words too, attempts 1 to `attempts`.
  virtual void RemoveOutput(const std::string& uid, int32_t attempts) = 0;
};

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

#endif  // GRADWATCH_SERVER_JOB_LAUNCHER_H_
