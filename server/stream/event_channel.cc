#include "server/stream/event_channel.h"

#include <algorithm>

namespace gradwatch::server {

EventChannel::EventChannel(int64_t last_position, size_t ring_bytes)
    : ring_bytes_(ring_bytes), start_(last_position), end_(last_position) {}

void EventChannel::Append(const EncodedEvent& event) {
  absl::MutexLock lock(&mutex_);
  if (event.position <= end_) return;
  end_ = event.position;
  bytes_ += event.bytes->size() + kEntryOverhead;
  events_.push_back(event);
  while (bytes_ > ring_bytes_ && events_.size() > 1) {
    start_ = events_.front().position;
    bytes_ -= events_.front().bytes->size() + kEntryOverhead;
    events_.pop_front();
  }
}

void EventChannel::Forget(absl::string_view job_id) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(events_, [&](const EncodedEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const bool gone = event.job_id == job_id;
    if (gone) bytes_ -= event.bytes->size() + kEntryOverhead;
    return gone;
  });
}

EventChannel::Window EventChannel::Read(int64_t position, size_t max_bytes) const {
  Window window;
  absl::MutexLock lock(&mutex_);
  window.start = start_;
  window.end = end_;
  window.behind = position < start_;
  if (window.behind) return window;
  auto event = std::partition_point(events_.begin(), events_.end(),
                                    [position](const EncodedEvent& event) { return event.position <= position; });
  for (size_t bytes = 0; event != events_.end() && bytes < max_bytes; ++event) {
    bytes += event->bytes->size();
    window.events.push_back(*event);
  }
  window.complete = event == events_.end();
  return window;
}

int64_t EventChannel::End() const {
  absl::MutexLock lock(&mutex_);
  return end_;
}

}  // namespace gradwatch::server
