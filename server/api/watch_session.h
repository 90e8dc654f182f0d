// What all watches have in common: one write at a time, bookmarks while nothing happens, an end that is told, and no
// patience without limit with readers that do not read.
//
// A session holds a cursor, not a queue: while a write is under way nothing is made for it. Whatever happens only sets
// flags and wakes it; its OnWake, which the hub never runs twice at once, is the only one to write and to finish.
#ifndef GRADWATCH_SERVER_API_WATCH_SESSION_H_
#define GRADWATCH_SERVER_API_WATCH_SESSION_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "server/api/admission.h"
#include "server/api/stream_registry.h"
#include "server/api/watch_sink.h"
#include "server/stream/hub.h"

namespace gradwatch::server {

class WatchSession : public Subscriber, public ManagedStream, public std::enable_shared_from_this<WatchSession> {
 public:
  // An idle stream says that it is alive this often.
  static constexpr absl::Duration kBookmarkEvery = absl::Seconds(15);
  // The same of one that has told an event: its reader may wait for the reports of the steps before it.
  static constexpr absl::Duration kBookmarkAfterEvents = absl::Seconds(1);
  // A write that the peer does not take for so long ends the stream: the reader can come back and go on.
  static constexpr absl::Duration kStalled = absl::Seconds(30);
  // A message has about so many bytes; of who catches up, twice as many.
  static constexpr size_t kMessageBytes = 64 << 10;

  // From now on the session writes to `sink`, which lives until OnDone has returned. Call it once.
  void Start(WatchSink* sink) ABSL_LOCKS_EXCLUDED(mutex_);

  // What the sink tells; see WatchSink. Thread-safe.
  void OnWritten(bool ok);
  void OnGone();
  void OnDone() ABSL_LOCKS_EXCLUDED(mutex_);

  Lane OnWake(Lane lane) final;
  void Tick(absl::Duration now) final;
  void BeginShutdown() final;
  void Abandon() final ABSL_LOCKS_EXCLUDED(mutex_);

 protected:
  // `topics`: of the hub, which outlives the session, as the clock does.
  WatchSession(Hub* hub, const core::Clock* clock, Admission::Watch admitted, std::vector<std::string> topics);

  // What comes next. Nothing: wait to be woken.
  struct Output {
    std::optional<EncodedMessage> message;
    std::optional<absl::Status> end;  // after the message
    bool behind = false;              // what comes next is much, or in the stores
    bool has_events = false;          // in the message
  };
  // Runs in OnWake; who is behind is served on the lane kCatchUp only. The first call makes the first message, which
  // comes at once.
  virtual Output Produce(Lane lane) = 0;
  // A message that says only that the stream is complete up to now.
  virtual EncodedMessage MakeBookmark() = 0;
  // The last message of a stream that the server's shutdown ends.
  virtual EncodedMessage MakeShutdown() = 0;

  static size_t MessageBytes(Lane lane) { return lane == Lane::kLive ? kMessageBytes : 2 * kMessageBytes; }
  absl::Time Now() const { return clock_->Now(); }

 private:
  Output Next(Lane lane);
  void Deliver(Output output);
  void Wake() { hub_->Wake(shared_from_this()); }

  Hub* const hub_;
  const core::Clock* const clock_;
  const std::vector<std::string> topics_;

  std::atomic<bool> writing_ = false;
  std::atomic<bool> gone_ = false;  // the peer: only Finish is left to do
  std::atomic<bool> shutting_down_ = false;
  std::atomic<bool> bookmark_due_ = false;
  std::atomic<bool> told_events_ = false;   // since the last bookmark
  std::atomic<int64_t> last_write_ns_ = 0;  // monotonic time of the last start of a write

  // OnWake only.
  bool finished_ = false;
  Admission::Watch admitted_;

  absl::Mutex mutex_;
  WatchSink* sink_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: the stream is over
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_WATCH_SESSION_H_
