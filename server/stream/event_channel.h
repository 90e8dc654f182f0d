// The newest events of all jobs, in the order in which they became durable, in a ring that many positions read.
#ifndef GRADWATCH_SERVER_STREAM_EVENT_CHANNEL_H_
#define GRADWATCH_SERVER_STREAM_EVENT_CHANNEL_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/stream/encoded_event.h"

namespace gradwatch::server {

// Thread-safe. Everything appended is durable already.
class EventChannel {
 public:
  // `last_position`: of the last event that is stored (LedgerReader::LastPosition). The ring holds at most
  // `ring_bytes`, but at least the newest event.
  EventChannel(int64_t last_position, size_t ring_bytes);

  // Appends an event, whose position lies above all before; one that does not is passed over.
  void Append(const EncodedEvent& event) ABSL_LOCKS_EXCLUDED(mutex_);

  // Drops the events of a job that was deleted, before any of another job with its id is appended. Positions stay.
  void Forget(absl::string_view job_id) ABSL_LOCKS_EXCLUDED(mutex_);

  struct Window {
    std::vector<EncodedEvent> events;
    bool behind = false;    // the next events are not in the ring any more: read them from the store
    bool complete = false;  // nothing newer exists
    int64_t start = 0;      // the ring holds what comes after this position
    int64_t end = 0;        // of the last event at this moment; the store may hold more already
  };
  // What comes after `position`, up to about `max_bytes`.
  Window Read(int64_t position, size_t max_bytes) const ABSL_LOCKS_EXCLUDED(mutex_);

  // The position of the last event.
  int64_t End() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const size_t ring_bytes_;
  mutable absl::Mutex mutex_;
  std::deque<EncodedEvent> events_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t start_ ABSL_GUARDED_BY(mutex_);  // what comes after it is in the ring
  int64_t end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_EVENT_CHANNEL_H_
