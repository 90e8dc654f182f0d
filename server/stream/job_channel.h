// The live end of a job's two logs: events and reports, each serialised once, in rings that many cursors read.
#ifndef GRADWATCH_SERVER_STREAM_JOB_CHANNEL_H_
#define GRADWATCH_SERVER_STREAM_JOB_CHANNEL_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/history/conflated_ranges.h"
#include "server/history/encoded_report.h"
#include "server/stream/encoded_event.h"
#include "server/stream/ring_budget.h"

namespace gradwatch::server {

// How far a reader has come: everything up to this event and up to this report was delivered.
struct WatchCursor {
  int64_t event = 0;    // number of the last event delivered; 0: none
  int32_t attempt = 0;  // of the last report delivered; 0: none
  int64_t step = -1;    // of the last report delivered
  friend bool operator==(const WatchCursor&, const WatchCursor&) = default;
};

// Whether the report (attempt, step) was delivered to this cursor.
inline bool IsDelivered(const WatchCursor& cursor, int32_t attempt, int64_t step) {
  return std::make_pair(attempt, step) <= std::make_pair(cursor.attempt, cursor.step);
}

// The part of `report`, whose last step was not delivered to `cursor`, that was not: a lost range may begin before.
EncodedReport Undelivered(const EncodedReport& report, const WatchCursor& cursor);

// Thread-safe. Everything appended is durable already; the rings hold the newest part, as long as the budget allows.
class JobChannel final : private RingOwner {
 public:
  // `end` says what exists in the stores before the rings begin: the job's last event, its attempt, and the last step
  // stored for it. The rings hold what the budget allows one ring each; `budget` outlives the channel.
  JobChannel(std::string uid, const WatchCursor& end, bool ended, RingBudget* budget);
  ~JobChannel() override;
  JobChannel(const JobChannel&) = delete;
  JobChannel& operator=(const JobChannel&) = delete;

  const std::string& uid() const { return uid_; }
  // Appends an event, whose number is the next. Events may come after the one that ends the job: the channel stays
  // ended.
  void AppendEvent(const EncodedEvent& event, bool ends_job) ABSL_LOCKS_EXCLUDED(mutex_);
  // Appends reports and lost ranges in the order of (attempt, step). Those that do not come after the last one are
  // passed over: readers have had that step already, and never see it twice.
  void AppendReports(const std::vector<EncodedReport>& reports) ABSL_LOCKS_EXCLUDED(mutex_);

  // What is stored up to this report came before the channel: readers find it in the store. Nothing if it is known.
  void SkipTo(int32_t attempt, int64_t step) ABSL_LOCKS_EXCLUDED(mutex_);

  struct Window {
    std::vector<EncodedEvent> events;
    std::vector<EncodedReport> reports;
    std::vector<ConflatedRange> ranges;  // of ReadRanges: `reports` are the last of each, and what is lost is in `lost`
    std::vector<EncodedReport> lost;
    WatchCursor reached;          // of ReadRanges: everything up to this report is in them
    bool events_behind = false;   // the cursor's next event is not in the ring any more: read it from the store
    bool reports_behind = false;  // the cursor's next report, if there is one before `start`, is only in the store
    bool complete = false;        // nothing newer exists
    size_t left_bytes = 0;        // about what the rings have after the cursor, what is given here included
    bool ended = false;           // complete, and the job has ended
    bool job_ended = false;       // the job has ended, complete or not
    WatchCursor start;            // the rings hold what comes after this
    WatchCursor end;              // where the log ended at this moment; the stores may hold more already
  };
  // What comes after `cursor`, up to about `max_bytes`.
  Window Read(const WatchCursor& cursor, size_t max_bytes) const ABSL_LOCKS_EXCLUDED(mutex_);

  struct RangeLimits {
    int64_t unit = 1;            // ranges are cut at its multiples, and come when they are closed
    int64_t max_ranges = 1;      // from 1
    int64_t max_lost = 1;        // from 1; what comes behind them is for the next call
    size_t most_left_bytes = 0;  // where the rings have more after the cursor, nothing is read of the reports
  };
  // The same with ranges in the place of reports, all that are closed of the next attempt that has some; complete: of
  // what comes later nothing is. Of the reports those are copied that are told, whatever lies between them in the ring.
  Window ReadRanges(const WatchCursor& cursor, size_t max_bytes, const RangeLimits& limits) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Where the log ends now.
  WatchCursor End() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct RingReport {
    EncodedReport entry;
    StepFigures figures;  // of one that is lost: nothing
  };
  using Reports = std::deque<RingReport>::const_iterator;

  size_t Shrink(size_t bytes) override ABSL_LOCKS_EXCLUDED(mutex_);
  void DropEvent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropReport() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Everything but the reports. Returns whether nothing was left.
  bool TakeEvents(const WatchCursor& cursor, size_t max_bytes, size_t* bytes, Window* window) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Of reports that are not behind the cursor. These, too.
  bool TakeReports(const WatchCursor& cursor, size_t max_bytes, size_t* bytes, Window* window) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  bool TakeRanges(const WatchCursor& cursor, size_t max_bytes, const RangeLimits& limits, Window* window) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void MakeRanges(Reports begin, Reports end, int64_t max_ranges, int64_t unit, Window* window) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Reports FirstAfter(const WatchCursor& cursor) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // What is behind the entries from `begin` on that are told at once: those of its attempt up to the step `last`.
  Reports EndOfRanges(Reports begin, int64_t last, const RangeLimits& limits) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::string uid_;
  RingBudget* const budget_;

  mutable absl::Mutex mutex_;
  std::deque<EncodedEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::deque<RingReport> reports_ ABSL_GUARDED_BY(mutex_);
  size_t event_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t report_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  WatchCursor start_ ABSL_GUARDED_BY(mutex_);  // what comes after it is in the rings
  WatchCursor end_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_JOB_CHANNEL_H_
