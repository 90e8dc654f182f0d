// Where a watch writes to: one stream of a transport.
#ifndef GRADWATCH_SERVER_API_WATCH_SINK_H_
#define GRADWATCH_SERVER_API_WATCH_SINK_H_

#include <optional>

#include "absl/status/status.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

// A session calls Write and Finish from one thread at a time, and neither after Finish; Cancel from any thread. What
// comes of it is told to the session, at any time and on any thread: WatchSession::OnWritten after each Write, OnGone
// when the peer has gone, OnDone as the last word, after Finish. None of these calls blocks.
class WatchSink {
 public:
  virtual ~WatchSink() = default;
  // One at a time: the next comes after OnWritten.
  virtual void Write(EncodedMessage message) = 0;
  // Ends the stream, after a last message if there is one.
  virtual void Finish(std::optional<EncodedMessage> last, const absl::Status& status) = 0;
  // Ends the stream at once, whether the peer hears of it or not; Finish is still to come if it was not called.
  virtual void Cancel() = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_WATCH_SINK_H_
