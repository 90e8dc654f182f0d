// Tells when processes end, without waiting for any one of them: one thread polls their process descriptors.
#ifndef GRADWATCH_SERVER_JOB_PROCESS_WATCHER_H_
#define GRADWATCH_SERVER_JOB_PROCESS_WATCHER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/job/launcher.h"

namespace gradwatch::server {

// A file descriptor that is closed with its owner.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }

 private:
  int fd_;
};

// Thread-safe.
class ProcessWatcher {
 public:
  using Ended = absl::AnyInvocable<void(const ProcessEnd&)>;

  ProcessWatcher();
  // Leaves the processes alone; callbacks that were not run never are.
  ~ProcessWatcher();

  // Watches a child, which it reaps. `ended` runs once on the watcher's thread.
  absl::Status WatchChild(int32_t pid, Ended ended) ABSL_LOCKS_EXCLUDED(mutex_);
  // Watches a process that is not a child: how it ends cannot be known. `is_it` looks whether it is the one that is
  // meant, while its number cannot pass to another one. NOT_FOUND: it is not, or there is none.
  absl::Status WatchOther(int32_t pid, absl::FunctionRef<bool()> is_it, Ended ended) ABSL_LOCKS_EXCLUDED(mutex_);
  // Kills a process that is watched; a child with its whole process group. Never hits another one that got its number.
  void Kill(int32_t pid) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Watched {
    int32_t pid = 0;
    bool is_child = false;
    FileDescriptor descriptor;
    Ended ended;
  };

  void Add(int32_t pid, bool is_child, FileDescriptor descriptor, Ended ended) ABSL_LOCKS_EXCLUDED(mutex_);
  void Work();
  // Waits for an end or for something new to watch. Those that may have ended.
  std::vector<int32_t> Wait();
  void Finish(int32_t pid);

  const FileDescriptor wake_;
  absl::Mutex mutex_;
  std::map<int32_t, std::shared_ptr<Watched>> watched_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_PROCESS_WATCHER_H_
