// All streams of a transport that are open, so that time passes for them and a shutdown ends every one: a stream that
// is never finished would hold the transport's shutdown for ever.
#ifndef GRADWATCH_SERVER_API_STREAM_REGISTRY_H_
#define GRADWATCH_SERVER_API_STREAM_REGISTRY_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gradwatch::server {

// An open stream. Thread-safe; nothing blocks.
class ManagedStream {
 public:
  virtual ~ManagedStream() = default;
  // It is `now` (monotonic); called about every second.
  virtual void Tick(absl::Duration now) = 0;
  // Tell the peer that the server goes down and end.
  virtual void BeginShutdown() = 0;
  // End at once, whether the peer hears of it or not.
  virtual void Abandon() = 0;
};

// Thread-safe.
class StreamRegistry {
 public:
  // A stream that comes during a shutdown is told so.
  void Add(std::shared_ptr<ManagedStream> stream) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::shared_ptr<ManagedStream>& stream) ABSL_LOCKS_EXCLUDED(mutex_);
  void Tick(absl::Duration now);
  // Ends all streams; those that are not gone after `grace`, because their peers do not read, are abandoned. Returns
  // when all are gone, or a second later.
  void ShutDown(absl::Duration grace);
  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::vector<std::shared_ptr<ManagedStream>> All() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool AwaitEmpty(absl::Duration time) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return streams_.empty(); }

  mutable absl::Mutex mutex_;
  absl::flat_hash_set<std::shared_ptr<ManagedStream>> streams_ ABSL_GUARDED_BY(mutex_);
  bool shutting_down_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_STREAM_REGISTRY_H_
