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
#include "server/stream/resume_token.h"
#include "server/stream/watch_filter.h"

namespace gradwatch::server {

// Not thread-safe: one watcher's OnWake uses it.
class WatchFeed {
 public:
  // The pointers outlive the feed. `start` is not ahead of the channel's end. `tensor_names`: see SetTensorNames.
  WatchFeed(std::shared_ptr<JobChannel> channel, LedgerReader* ledger, StatisticsStore* statistics, WatchFilter filter,
            WatchCursor start, std::string log_epoch, std::vector<std::string> tensor_names);

  // The filter is over tensors, and their names are not known yet.
  bool WantsTensorNames() const { return reports_.WantsTensorNames(); }
  // The names of Job.tensors, in their order. Where they are wanted, no statistics of tensors pass until they are set.
  void SetTensorNames(const std::vector<std::string>& names) { reports_.SetTensorNames(names); }

  struct Part {
    grpc::ByteBuffer message;  // a serialised WatchJobResponse with a resume token; not valid if there is nothing new
    bool has_message = false;
    bool ended = false;  // no message: everything was delivered and the job has ended
  };
  // The next part, of about `max_bytes` at most. Without message: nothing new. A message may be empty but for its
  // token, when much was read that the filter keeps back. NOT_FOUND: the job was deleted; DATA_LOSS, UNAVAILABLE from
  // the stores; after an error the cursor is where it was.
  absl::StatusOr<Part> Next(size_t max_bytes);

  const WatchCursor& cursor() const { return cursor_; }
  // The token for the present cursor.
  std::string Token() const;

 private:
  struct Content;  // of the message in the making

  // Each adds to `content` what `window`, or else the store, has next, and moves its cursor.
  absl::Status TakeEvents(JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeReports(JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeStoredEvents(const JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeStoredReports(const JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeReport(ReportSlice report, Content* content);
  Part MakePart(Content content) const;

  const std::shared_ptr<JobChannel> channel_;
  LedgerReader* const ledger_;
  StatisticsStore* const statistics_;
  const bool events_only_;
  const uint64_t filter_hash_;
  const std::string log_epoch_;
  ReportFilter reports_;
  WatchCursor cursor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_WATCH_FEED_H_
