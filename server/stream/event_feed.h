// What one watcher of the events of all jobs gets next: from the ring while it keeps up, from the ledger when it has
// fallen behind.
#ifndef GRADWATCH_SERVER_STREAM_EVENT_FEED_H_
#define GRADWATCH_SERVER_STREAM_EVENT_FEED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/encoding.h"
#include "server/store/ledger.h"
#include "server/stream/event_channel.h"
#include "server/stream/hub.h"

namespace gradwatch::server {

struct EventFilter {
  bool alerts_only = false;
  std::string job_id;                                    // of alerts; empty: all
  v1::Severity min_severity = v1::SEVERITY_UNSPECIFIED;  // of alerts
};

// Not thread-safe: one watcher's OnWake uses it.
class EventFeed {
 public:
  // The pointers outlive the feed. `start`: position of the last event that the watcher has had.
  EventFeed(const EventChannel* channel, LedgerReader* ledger, EventFilter filter, int64_t start);

  struct Part {
    std::vector<SharedBytes> events;  // fields `events`
    bool complete = false;            // nothing newer exists
    bool behind = false;              // what comes next is much, or in the ledger
  };
  // The next part, of about `max_bytes` at most. On the lane kLive the ledger is not read: see Part::behind. Errors
  // from the ledger; after one the position is where it was.
  absl::StatusOr<Part> Next(size_t max_bytes, Lane lane);

  // Of the last event that was delivered or passed over.
  int64_t position() const { return position_; }

 private:
  bool Wants(const EncodedEvent& event) const;
  absl::StatusOr<EventChannel::Window> ReadLedger(const EventChannel::Window& ring, int64_t position,
                                                  size_t max_bytes) const;

  const EventChannel* const channel_;
  LedgerReader* const ledger_;
  const EventFilter filter_;
  int64_t position_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_EVENT_FEED_H_
