// Tells when processes end, without waiting for any one of them: one thread polls their process descriptors.
#ifndef GRADWATCH_SERVER_JOB_PROCESS_WATCHER_H_
#define GRADWATCH_SERVER_JOB_PROCESS_WATCHER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "core/base/file_descriptor.h"
#include "server/job/launcher.h"

namespace gradwatch::server {

// Thread-safe. Where no process descriptor is to be had (the table is full), a process is looked after once a second.
class ProcessWatcher {
 public:
  using Ended = absl::AnyInvocable<void(const ProcessEnd&)>;
  // Whether a process is the one that is meant; nothing: that cannot be told now.
  using IsIt = absl::AnyInvocable<std::optional<bool>()>;

  // `name`: of its thread.
  explicit ProcessWatcher(const char* name);
  // Leaves the processes alone; callbacks that were not run never are.
  ~ProcessWatcher();

  // Watches a child, which it reaps, whatever happens. `ended` runs once on the watcher's thread.
  void WatchChild(int32_t pid, Ended ended) ABSL_LOCKS_EXCLUDED(mutex_);
  // Watches a process that is not a child: how it ends cannot be known. `is_it` is asked while its number cannot pass
  // to another one, now or, if that cannot be told now, later on the watcher's thread; what is not it counts as ended.
  // NOT_FOUND: it is not, or there is none.
  absl::Status WatchOther(int32_t pid, IsIt is_it, Ended ended) ABSL_LOCKS_EXCLUDED(mutex_);
  // Kills a process that is watched; a child with its whole process group. Never hits another one that got its number.
  void Kill(int32_t pid) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Watched {
    int32_t pid = 0;
    bool is_child = false;
    core::FileDescriptor descriptor;  // none while there was none to be had
    IsIt is_it;                       // of another's process without a descriptor
    bool to_be_killed = false;        // as soon as it is known to be the one
    Ended ended;
  };

  void Add(std::shared_ptr<Watched> watched) ABSL_LOCKS_EXCLUDED(mutex_);
  void Work();
  // Waits for an end, for something new to watch, or for a second if something has no descriptor. Those that have
  // ended.
  std::vector<int32_t> Wait();
  // For a process without a descriptor. Whether it has ended.
  bool LookAfter(Watched& watched) ABSL_LOCKS_EXCLUDED(mutex_);
  void Finish(int32_t pid);

  const core::FileDescriptor wake_;
  absl::Mutex mutex_;
  std::map<int32_t, std::shared_ptr<Watched>> watched_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_PROCESS_WATCHER_H_
