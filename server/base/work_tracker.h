// Lets an object wait, before it goes, for the callbacks that still use it.
#ifndef GRADWATCH_SERVER_BASE_WORK_TRACKER_H_
#define GRADWATCH_SERVER_BASE_WORK_TRACKER_H_

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace gradwatch::server {

// Thread-safe. Held by shared_ptr, so that callbacks that may never run can ask it whether their object is still there.
class WorkTracker : public std::enable_shared_from_this<WorkTracker> {
 public:
  // One piece of work, until the last copy of it is gone.
  using Token = std::shared_ptr<void>;

  // Null after Close: the object must not be touched any more.
  Token Enter() ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets nobody in any more and waits for those who are in.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return inside_ == 0; }
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  int64_t inside_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_WORK_TRACKER_H_
