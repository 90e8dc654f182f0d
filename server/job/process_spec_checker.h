// Has specs that name data files checked by a process of their own, which a hostile or huge file can hurt alone.
#ifndef GRADWATCH_SERVER_JOB_PROCESS_SPEC_CHECKER_H_
#define GRADWATCH_SERVER_JOB_PROCESS_SPEC_CHECKER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/file_descriptor.h"
#include "core/data/data_root.h"
#include "core/spec/job_spec.h"
#include "server/job/launcher.h"
#include "server/job/process_watcher.h"

namespace gradwatch::server {

struct ProcessSpecCheckerOptions {
  std::string program;                // path of gradwatch-worker
  std::vector<std::string> prefix{};  // arguments before "check"; for tests
  core::DataRoots data_roots{};
  core::SpecLimits limits{};
  int64_t max_bytes = int64_t{1} << 30;  // address space of a check; the program itself takes some 50 MiB
  // Of processor time, which bounds the work of a check.
  absl::Duration max_work = absl::Seconds(30);
  // From its start. Longer than its work: a check is as nice as the threads that train, and shares each core with them.
  absl::Duration max_time = absl::Minutes(2);
  absl::Duration max_wait = absl::Minutes(5);    // until a check begins; nobody waits longer for an answer
  int max_running = 2;                           // checks at once
  int max_waiting = 64;                          // checks that wait for one of these to end, first in, first out
  size_t max_in_place_bytes = size_t{16} << 10;  // of a spec without files that is checked where it was asked for
};

// Thread-safe. A spec that names no file and is not huge is checked before Check returns: that takes a millisecond, 30
// if it is as large as may be, and starting a process takes 20 to 50. Others are checked by
//   PROGRAM check --max-bytes N --max-seconds N
// which reads what is asked from standard input and writes the answer to standard output, both files in memory.
// Errors besides those of core::ValidateJob: RESOURCE_EXHAUSTED with the reason CHECK_LIMIT (it took too long),
// OUT_OF_MEMORY or CHECKS_WAITING (too many wait, or it waited too long); UNKNOWN with the reason CHECK_FAILED: the
// process ended without an answer; UNAVAILABLE: it could not be started, or the server shuts down (SHUTTING_DOWN).
class ProcessSpecChecker final : public SpecChecker {
 public:
  // INVALID_ARGUMENT: no program that may be run.
  static absl::StatusOr<std::unique_ptr<ProcessSpecChecker>> Create(ProcessSpecCheckerOptions options);
  // Kills what runs and answers whoever waits.
  ~ProcessSpecChecker() override;

  void Check(v1::JobSpec spec, Done done) ABSL_LOCKS_EXCLUDED(mutex_) override;

 private:
  // A check that waits or runs.
  struct Request {
    std::string bytes;     // what is asked
    std::string field;     // for errors: the field that names the file, or "data"; empty: none does
    std::string files;     // "table.csv"
    absl::Duration asked;  // when, by the monotonic clock
    Done done;             // null once it is answered
  };
  // The files that a process writes to.
  struct Output {
    core::FileDescriptor answer, errors;
  };
  struct Running {
    std::shared_ptr<Request> request;
    absl::Duration deadline;  // of the monotonic clock; infinite once it was killed
  };

  explicit ProcessSpecChecker(ProcessSpecCheckerOptions options);
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  bool CanStart() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration NextDeadline() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Start(std::shared_ptr<Request> request) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<int32_t> Spawn(const Request& request, Output* output) const;
  // Kills and answers those that are over their time; they keep their places until they are gone.
  void EndOverdue() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnEnded(int32_t pid, const Output& output, ProcessEnd end) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<core::ValidatedJob> ReadAnswer(const Request& request, const Output& output, ProcessEnd end) const;
  // `limit`: what it took more than.
  static absl::Status TookTooLong(const Request& request, const std::string& limit);

  const ProcessSpecCheckerOptions options_;
  absl::Mutex mutex_;
  std::deque<std::shared_ptr<Request>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<int32_t, Running> running_ ABSL_GUARDED_BY(mutex_);  // by process id
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  ProcessWatcher watcher_{"check-reaper"};
  // Starts processes and ends them. They die with it (PR_SET_PDEATHSIG is about the thread that started them).
  std::thread thread_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_PROCESS_SPEC_CHECKER_H_
