// The live end of a job's two logs: events and reports, each serialised once, in rings that many cursors read.
#ifndef GRADWATCH_SERVER_STREAM_JOB_CHANNEL_H_
#define GRADWATCH_SERVER_STREAM_JOB_CHANNEL_H_

#include <grpcpp/support/slice.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/event.pb.h"
#include "server/store/statistics_store.h"

namespace gradwatch::server {

// How far a reader has come: everything up to this event and up to this report was delivered.
struct WatchCursor {
  int64_t event = 0;    // number of the last event delivered; 0: none
  int32_t attempt = 0;  // of the last report delivered; 0: none
  int64_t step = -1;    // of the last report delivered
  friend bool operator==(const WatchCursor&, const WatchCursor&) = default;
};

// One event, encoded as the field `events` of WatchJobResponse.
struct EncodedEvent {
  int64_t number = 0;
  bool ends_job = false;  // the job reached a final state: nothing comes after it
  grpc::Slice slice;
};

// One report, encoded as the field `reports` of WatchJobResponse.
struct ReportSlice {
  int32_t attempt = 0;
  int64_t step = 0;
  grpc::Slice slice;
};

// Thread-safe. Everything appended is durable already; the rings hold the newest part.
class JobChannel {
 public:
  // `end` says what exists in the stores before the rings begin: the job's last event, its attempt, and the last step
  // stored for it (StatisticsStore::LastStep). The rings hold at most `ring_bytes` each, but at least the newest entry.
  JobChannel(std::string uid, const WatchCursor& end, bool ended, size_t ring_bytes);

  const std::string& uid() const { return uid_; }
  void AppendEvent(const v1::Event& event, bool ends_job);
  void AppendReports(const std::vector<EncodedReport>& reports);

  struct Window {
    std::vector<EncodedEvent> events;
    std::vector<ReportSlice> reports;
    bool events_behind = false;   // the cursor's next event is not in the ring any more: read it from the store
    bool reports_behind = false;  // the same for reports
    bool complete = false;        // nothing newer exists
    bool ended = false;           // complete, and the job has ended
  };
  // What comes after `cursor`, up to about `max_bytes`.
  Window Read(const WatchCursor& cursor, size_t max_bytes) const;

  // Where the log ends now.
  WatchCursor End() const;
  bool ended() const;

 private:
  const std::string uid_;
  const size_t ring_bytes_;

  mutable absl::Mutex mutex_;
  std::deque<EncodedEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::deque<ReportSlice> reports_ ABSL_GUARDED_BY(mutex_);
  size_t event_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t report_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  WatchCursor end_ ABSL_GUARDED_BY(mutex_);
  // Reports up to here (attempt, step) are not in the ring, but may be in the store.
  int32_t evicted_attempt_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t evicted_step_ ABSL_GUARDED_BY(mutex_) = -1;
  bool ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_JOB_CHANNEL_H_
