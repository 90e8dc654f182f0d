// Where slow work runs, so that gRPC's threads never wait.
#ifndef GRADWATCH_SERVER_BASE_EXECUTOR_H_
#define GRADWATCH_SERVER_BASE_EXECUTOR_H_

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace gradwatch::server {

// Thread-safe.
class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `task` some time; never blocks.
  virtual void Run(absl::AnyInvocable<void()> task) = 0;
};

// A fixed number of named threads.
class ThreadPool final : public Executor {
 public:
  // `name`: at most 12 characters. `threads` >= 1.
  ThreadPool(absl::string_view name, int threads);
  // Runs what is queued, then joins.
  ~ThreadPool() override;
  void Run(absl::AnyInvocable<void()> task) override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !tasks_.empty(); }

  absl::Mutex mutex_;
  std::deque<absl::AnyInvocable<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // constant after construction
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_EXECUTOR_H_
