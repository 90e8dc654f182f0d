// The one place at which the attach thread waits: for the ends of its network operations, for a time to pass, or to be
// woken by another thread.
#ifndef GRADWATCH_CLIENT_WORKER_EVENT_QUEUE_H_
#define GRADWATCH_CLIENT_WORKER_EVENT_QUEUE_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <optional>

#include "absl/time/time.h"

namespace gradwatch::worker {

// For one thread, except Wake. All operations must have ended before it is destroyed.
class EventQueue {
 public:
  // The end of an operation.
  struct Event {
    void* tag = nullptr;
    bool ok = false;
  };

  EventQueue() = default;
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  // For operations; their tags must not be null.
  grpc::CompletionQueue* queue() { return &queue_; }

  // Waits until an operation ends, for at most `timeout`. Nothing: time is up, or Wake was called.
  std::optional<Event> Next(absl::Duration timeout);
  // Waits until an operation ends.
  Event Await();

  // Any thread: ends the present, or else the next, Next.
  void Wake();

 private:
  grpc::CompletionQueue queue_;
  grpc::Alarm alarm_;                   // puts the null tag into the queue
  std::atomic<bool> is_waking_{false};  // the alarm is on its way and must not be set again
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_EVENT_QUEUE_H_
