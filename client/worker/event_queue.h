// The one place at which the attach thread waits: for the ends of its network operations, for a time to pass, or to be
// woken by another thread.
#ifndef GRADWATCH_CLIENT_WORKER_EVENT_QUEUE_H_
#define GRADWATCH_CLIENT_WORKER_EVENT_QUEUE_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gradwatch::worker {

// For one thread, except Wake. All operations must have ended before it is destroyed.
//
// Wake only tells a thread of this object, which then does it. gRPC's way to wake whoever waits for operations takes
// several locks and wakes threads of its own first. A thread that trains, nicer than all of these, lost the processor
// in the middle of that, and had it again when its turn among all that train came: an alert waited for a quarter of a
// second.
class EventQueue {
 public:
  // The end of an operation.
  struct Event {
    void* tag = nullptr;
    bool ok = false;
  };

  EventQueue();
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  // For operations; their tags must not be null.
  grpc::CompletionQueue* queue() { return &queue_; }

  // Waits until an operation ends, for at most `timeout`. Nothing: time is up, or Wake was called.
  std::optional<Event> Next(absl::Duration timeout);
  // Waits until an operation ends.
  Event Await();

  // Any thread: ends the present, or else the next, Next. Takes a moment only.
  void Wake() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void RunWaker() ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::CompletionQueue queue_;
  grpc::Alarm alarm_;                   // puts the null tag into the queue
  std::atomic<bool> is_waking_{false};  // the alarm is on its way and must not be set again

  absl::Mutex mutex_;
  bool is_wanted_ ABSL_GUARDED_BY(mutex_) = false;  // Wake was called
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread waker_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_EVENT_QUEUE_H_
