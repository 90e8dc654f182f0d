// What one watcher of a job gets next: from the rings while it keeps up, from the stores when it has fallen behind.
#ifndef GRADWATCH_SERVER_STREAM_WATCH_FEED_H_
#define GRADWATCH_SERVER_STREAM_WATCH_FEED_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/encoding.h"
#include "server/store/ledger.h"
#include "server/stream/hub.h"
#include "server/stream/job_channel.h"
#include "server/stream/report_history.h"
#include "server/stream/resume_token.h"
#include "server/stream/watch_filter.h"

namespace gradwatch::server {

// What feeds share; all of it outlives them.
struct FeedSources {
  LedgerReader* ledger;
  ReportHistory* history;
  StatisticsStore* statistics;
  // Statistics of the job `uid` are damaged or gone: what, in one sentence that is the same for all readers.
  std::function<void(const std::string& uid, const std::string& description)> tell_loss;
  std::string log_epoch;
};

// Not thread-safe: one watcher's OnWake uses it.
class WatchFeed {
 public:
  static constexpr int64_t kMaxPoints = 64;
  static constexpr int64_t kMaxLost = 64;

  // `start` is not ahead of the channel's last event. `tensor_names`: see SetTensorNames.
  WatchFeed(std::shared_ptr<JobChannel> channel, const FeedSources* sources, WatchFilter filter, WatchCursor start,
            const std::vector<std::string>& tensor_names);

  // The filter is over tensors, and their names are not known yet.
  bool WantsTensorNames() const { return reports_.WantsTensorNames(); }
  // The names of Job.tensors, in their order. Where they are wanted, no statistics of tensors pass until they are set.
  void SetTensorNames(const std::vector<std::string>& names) { reports_.SetTensorNames(names); }

  struct Part {
    std::optional<EncodedMessage> message;  // a WatchJobResponse with a resume token; none: nothing new
    bool ended = false;                     // no message: everything was delivered and the job has ended
    bool behind = false;                    // what comes next is much, or in the stores
    bool has_events = false;                // in the message
  };
  // The next part, of about `max_bytes` at most, or of what was read from the store at once. On the lane kLive nothing
  // is taken by who is behind. A message may be empty but for its token, when much was read that the filter keeps back.
  // Statistics that cannot be read, or are not where they were stored, are delivered as lost. NOT_FOUND: the job was
  // deleted; DATA_LOSS: of events; UNAVAILABLE from the stores; after an error the cursor is where it was.
  //
  // Conflated, a message has at most kMaxPoints ranges of the steps that have come since, fewer where their last
  // reports are large, and what is lost of them; so who is slow, or far away, gets fewer and wider ones. It ends before
  // more than kMaxLost are lost.
  absl::StatusOr<Part> Next(size_t max_bytes, Lane lane);

  const WatchCursor& cursor() const { return cursor_; }
  // The token for the present cursor.
  std::string Token() const;

 private:
  // The message in the making.
  struct Content {
    std::vector<SharedBytes> events;
    std::vector<SharedBytes> reports;  // or points, and what is lost
    int64_t points = 0, lost = 0;      // of a conflated stream
    size_t bytes = 0;
    WatchCursor cursor;  // after this content
  };

  JobChannel::Window Read(const WatchCursor& cursor, Lane lane, size_t max_bytes, const Content& content) const;
  // Each adds to `content` what `window`, or else the store, has next, and moves its cursor.
  absl::Status TakeEvents(JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeReports(const JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeStoredEvents(const JobChannel::Window& window, size_t max_bytes, Content* content);
  absl::Status TakeStoredReports(const JobChannel::Window& window, Content* content);
  absl::Status TakeChunk(const ReportHistory::Chunk& chunk, const WatchCursor& end, Content* content);
  absl::Status TakeEntries(const ReportHistory::Chunk& chunk, ptrdiff_t begin, ptrdiff_t end, Content* content);
  absl::Status TakeReport(const EncodedReport& report, Content* content);
  // Conflated: whether something is to be told of the reports that have come since.
  bool HasClosedRange(const WatchCursor& cursor) const;
  absl::Status TakeRanges(const JobChannel::Window& window, size_t max_bytes, Content* content);
  int64_t LastStored(const JobChannel::Window& window, int32_t attempt) const;
  absl::Status TakeStoredPoints(const JobChannel::Window& window, Content* content);
  // Of each range the field `reports` of its last step, without what is not wanted; null: it is not kept.
  absl::StatusOr<std::vector<SharedBytes>> LastReports(const std::vector<ConflatedRange>& ranges,
                                                       BlockSource* source) const;
  static void TakePoint(int32_t attempt, const ConflatedRange& range, absl::string_view last_report, Content* content);
  void TakeMissing(const WatchCursor& start, const std::string& reason, Content* content);
  static void TakeLost(const EncodedReport& lost, Content* content);
  // What is lost ends a message: with less room for more of it a range would have to be cut.
  bool HasRoom(const Content& content, size_t max_bytes) const {
    return content.bytes < max_bytes && content.points < kMaxPoints && (!conflated_ || content.lost == 0);
  }
  void TellLoss(int32_t attempt, absl::string_view reason) const;
  Part MakePart(Content content) const;

  const std::shared_ptr<JobChannel> channel_;
  const FeedSources* const sources_;
  const bool events_only_;
  const bool conflated_;
  const int64_t unit_;  // conflated: ranges are cut at its multiples
  const uint64_t filter_hash_;
  ReportFilter reports_;
  WatchCursor cursor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_WATCH_FEED_H_
