#include "server/base/work_tracker.h"

namespace gradwatch::server {

WorkTracker::Token WorkTracker::Enter() {
  absl::MutexLock lock(&mutex_);
  if (closed_) return nullptr;
  ++inside_;
  return Token(this, [self = shared_from_this()](void*) { self->Leave(); });
}

void WorkTracker::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  mutex_.Await(absl::Condition(this, &WorkTracker::Empty));
}

void WorkTracker::Leave() {
  absl::MutexLock lock(&mutex_);
  --inside_;
}

}  // namespace gradwatch::server
