// Hundreds of subscribers of one job that cost next to nothing: raw bytes on one thread, and of a message only what
// says which steps are in it.
#ifndef GRADWATCH_TESTS_BENCH_RAW_SUBSCRIBERS_H_
#define GRADWATCH_TESTS_BENCH_RAW_SUBSCRIBERS_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gradwatch::testing {

// Streams of WatchJob from the beginning, opened at once; nothing is read of them until Release. Those that the server
// cuts meanwhile are opened again with their tokens. Thread-safe.
class RawSubscribers {
 public:
  // `until_step`: a subscriber that was given this step has done its work and ends its stream. 50 streams a connection.
  RawSubscribers(const std::string& address, const std::string& job_id, int count, int64_t until_step);
  ~RawSubscribers();
  RawSubscribers(const RawSubscribers&) = delete;
  RawSubscribers& operator=(const RawSubscribers&) = delete;

  // Waits until the server has begun all streams.
  bool AwaitOpen(absl::Duration timeout);
  // They read from now on.
  void Release();
  // Waits until all are through.
  bool AwaitDone(absl::Duration timeout);

  struct Totals {
    int done = 0;     // subscribers that have the last step
    int failed = 0;   // those whose stream ended before, for good
    int resumed = 0;  // streams that were cut and opened again
    int64_t reports = 0;
    int64_t lost = 0;     // steps that were said to be lost
    int64_t missing = 0;  // steps that nothing was said of
    int64_t bytes = 0;
    std::string first_error;  // of the first stream that failed
  };
  Totals totals() const;

 private:
  struct Stream;
  void Run();
  // Opens the subscriber's first stream, or the next one from where the last one ended.
  void Open(Stream* stream);
  void OnFinished(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnEvent(Stream* stream, bool ok) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts what a message says; true: it holds the last step.
  bool Count(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountSteps(Stream* stream, int64_t first, int64_t last, bool lost) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string job_id_;
  const int64_t until_step_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::vector<std::unique_ptr<Stream>> streams_;
  mutable absl::Mutex mutex_;
  Totals totals_ ABSL_GUARDED_BY(mutex_);
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_RAW_SUBSCRIBERS_H_
