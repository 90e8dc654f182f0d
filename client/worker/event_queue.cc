#include "client/worker/event_queue.h"

#include <grpc/support/time.h>

#include "core/base/thread_name.h"

namespace gradwatch::worker {

EventQueue::EventQueue() : waker_([this] { RunWaker(); }) {}

EventQueue::~EventQueue() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  waker_.join();
  alarm_.Cancel();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

std::optional<EventQueue::Event> EventQueue::Next(absl::Duration timeout) {
  const gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                             gpr_time_from_micros(absl::ToInt64Microseconds(timeout), GPR_TIMESPAN));
  Event event;
  if (queue_.AsyncNext(&event.tag, &event.ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return std::nullopt;
  if (event.tag != nullptr) return event;
  is_waking_.store(false, std::memory_order_release);
  return std::nullopt;
}

EventQueue::Event EventQueue::Await() {
  while (true) {
    if (const std::optional<Event> event = Next(absl::Hours(1)); event.has_value()) return *event;
  }
}

void EventQueue::Wake() {
  absl::MutexLock lock(&mutex_);
  is_wanted_ = true;
}

void EventQueue::RunWaker() {
  core::NameThisThread("wake");
  const auto has_work = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return is_wanted_ || closing_; };
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (closing_) return;
      is_wanted_ = false;
    }
    if (!is_waking_.exchange(true, std::memory_order_acq_rel)) {
      alarm_.Set(&queue_, gpr_time_0(GPR_CLOCK_MONOTONIC), nullptr);  // long past: not a moment's delay by a timer
    }
  }
}

}  // namespace gradwatch::worker
