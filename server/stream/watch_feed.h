// What one watcher of a job gets next: from the rings while it keeps up, from the store when it has fallen behind.
#ifndef GRADWATCH_SERVER_STREAM_WATCH_FEED_H_
#define GRADWATCH_SERVER_STREAM_WATCH_FEED_H_

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/ledger.h"
#include "server/store/statistics_store.h"
#include "server/stream/job_channel.h"

namespace gradwatch::server {

// What a watcher wants of a job.
struct WatchFilter {
  bool events_only = false;
  int64_t every_steps = 1;
  std::vector<std::string> tensors;  // globs over the names; empty: all
  // Identifies the filter in resume tokens.
  uint64_t Hash() const;
};

// Opaque to clients: base64url of a small message with a checksum.
struct ResumeToken {
  std::string log_epoch;
  std::string uid;  // of the job; empty for WatchAlerts
  WatchCursor cursor;
  int64_t position = 0;  // WatchAlerts: position of the last event delivered
  uint64_t filter_hash = 0;

  std::string Encode() const;
  // INVALID_ARGUMENT (reason BAD_RESUME_TOKEN): not one of ours.
  static absl::StatusOr<ResumeToken> Decode(absl::string_view text);
};

// Not thread-safe: one watcher's OnWake uses it.
class WatchFeed {
 public:
  // The pointers outlive the feed. `tensor_names` may be empty when no tensor filter is set.
  WatchFeed(std::shared_ptr<JobChannel> channel, LedgerReader* ledger, StatisticsStore* statistics, WatchFilter filter,
            WatchCursor start, std::string log_epoch, std::vector<std::string> tensor_names);

  struct Part {
    grpc::ByteBuffer message;  // a serialised WatchJobResponse with a resume token; not valid if there is nothing new
    bool has_message = false;
    bool ended = false;  // everything was delivered and the job has ended
  };
  // The next part, of about `max_bytes` at most. Without message: nothing new. DATA_LOSS, UNAVAILABLE from the store.
  absl::StatusOr<Part> Next(size_t max_bytes);

  const WatchCursor& cursor() const { return cursor_; }
  // The token for the present cursor.
  std::string Token() const;

 private:
  const std::shared_ptr<JobChannel> channel_;
  LedgerReader* const ledger_;
  StatisticsStore* const statistics_;
  const WatchFilter filter_;
  const std::string log_epoch_;
  const std::vector<std::string> tensor_names_;
  WatchCursor cursor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_WATCH_FEED_H_
