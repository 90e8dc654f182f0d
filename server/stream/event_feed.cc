#include "server/stream/event_feed.h"

#include <algorithm>
#include <utility>

#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

// Events read from the ledger at once.
constexpr int kMaxStoredEvents = 256;
// Reads whose events the filter keeps back, before the thread goes to the next watcher.
constexpr int kMaxReads = 16;

}  // namespace

EventFeed::EventFeed(const EventChannel* channel, LedgerReader* ledger, EventFilter filter, int64_t start)
    : channel_(channel), ledger_(ledger), filter_(std::move(filter)), position_(start) {}

absl::StatusOr<EventFeed::Part> EventFeed::Next(size_t max_bytes, Lane lane) {
  Part part;
  int64_t position = position_;
  size_t bytes = 0;
  for (int reads = 0; reads < kMaxReads && bytes < max_bytes; ++reads) {
    EventChannel::Window window = channel_->Read(position, max_bytes - bytes);
    part.behind = window.behind;
    if (window.behind) {
      if (lane == Lane::kLive) break;
      GW_ASSIGN_OR_RETURN(window, ReadLedger(window, position, max_bytes - bytes));
    }
    for (EncodedEvent& event : window.events) {
      position = event.position;
      if (!Wants(event)) continue;
      bytes += event.bytes->size();
      part.events.push_back(std::move(event.bytes));
    }
    // What lies between was deleted, or is kept back.
    if (window.complete) position = std::max(position, window.behind ? window.start : window.end);
    part.complete = !window.behind && window.complete;
    part.behind = part.behind || !part.complete;
    if (part.complete) break;
  }
  position_ = position;
  return part;
}

bool EventFeed::Wants(const EncodedEvent& event) const {
  if (!filter_.alerts_only) return true;
  if (!event.is_alert || event.severity < filter_.min_severity) return false;
  return filter_.job_id.empty() || event.job_id == filter_.job_id;
}

// What the ledger has after `position` and `ring` does not hold any more; complete: nothing else lies before the ring.
absl::StatusOr<EventChannel::Window> EventFeed::ReadLedger(const EventChannel::Window& ring, int64_t position,
                                                           size_t max_bytes) const {
  GW_ASSIGN_OR_RETURN(const auto stored,
                      filter_.alerts_only
                          ? ledger_->ReadAlertEvents(filter_.job_id, position, kMaxStoredEvents, max_bytes)
                          : ledger_->ReadAllEvents(position, kMaxStoredEvents, max_bytes));
  EventChannel::Window window = ring;
  window.complete = stored.empty();
  for (const auto& [place, event] : stored) {
    if (place > ring.end) {  // durable, but not yet published
      window.complete = true;
      break;
    }
    window.events.push_back(EncodeEvent(event, place));
  }
  return window;
}

}  // namespace gradwatch::server
