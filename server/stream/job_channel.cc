#include "server/stream/job_channel.h"

#include <algorithm>

#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

template <typename Entry>
size_t SizeOf(const Entry& entry) {
  return entry.bytes->size() + kEntryOverhead;
}

// Copies what lies from `first` on into `taken` while `*bytes` is below `max_bytes`; false: something was left.
template <typename Iterator, typename Entry>
bool TakeFrom(Iterator first, Iterator last, size_t max_bytes, size_t* bytes, std::vector<Entry>* taken) {
  for (; first != last; ++first) {
    if (*bytes >= max_bytes) return false;
    *bytes += first->bytes->size();
    taken->push_back(*first);
  }
  return true;
}

// About how many bytes of a ring lie from `first` on.
template <typename Ring>
size_t BytesFrom(const Ring& ring, typename Ring::const_iterator first, size_t bytes) {
  return ring.empty() ? 0 : bytes / ring.size() * static_cast<size_t>(ring.end() - first);
}

}  // namespace

EncodedReport Undelivered(const EncodedReport& report, const WatchCursor& cursor) {
  const bool partly = report.lost && IsDelivered(cursor, report.attempt, report.first_step);
  return partly ? CutLost(report, cursor.step + 1, report.step) : report;
}

JobChannel::JobChannel(std::string uid, const WatchCursor& end, bool ended, RingBudget* budget)
    : uid_(std::move(uid)), budget_(budget), start_(end), end_(end), ended_(ended) {}

JobChannel::~JobChannel() { budget_->Leave(this); }

void JobChannel::AppendEvent(const EncodedEvent& event, bool ends_job) {
  bool ended = false;
  {
    absl::MutexLock lock(&mutex_);
    end_.event = event.number;
    ended_ = ended_ || ends_job;
    ended = ended_;
    event_bytes_ += SizeOf(event);
    events_.push_back(event);
    while (event_bytes_ > budget_->per_ring_bytes() && events_.size() > 1) DropEvent();
  }
  budget_->Grown(this, ended);
}

void JobChannel::AppendReports(const std::vector<EncodedReport>& reports) {
  bool ended = false;
  {
    absl::MutexLock lock(&mutex_);
    ended = ended_;
    for (const EncodedReport& report : reports) {
      if (IsDelivered(end_, report.attempt, report.step)) continue;
      reports_.push_back(Undelivered(report, end_));
      report_bytes_ += SizeOf(reports_.back());
      end_.attempt = report.attempt;
      end_.step = report.step;
    }
    while (report_bytes_ > budget_->per_ring_bytes() && reports_.size() > 1) DropReport();
  }
  budget_->Grown(this, ended);
}

void JobChannel::SkipTo(int32_t attempt, int64_t step) {
  absl::MutexLock lock(&mutex_);
  if (IsDelivered(end_, attempt, step)) return;
  while (!reports_.empty()) DropReport();
  start_.attempt = end_.attempt = attempt;
  start_.step = end_.step = step;
}

JobChannel::Window JobChannel::Read(const WatchCursor& cursor, size_t max_bytes) const {
  Window window;
  size_t bytes = 0;
  absl::MutexLock lock(&mutex_);
  window.start = start_;
  window.end = end_;
  window.events_behind = cursor.event < start_.event;
  window.reports_behind = !IsDelivered(cursor, start_.attempt, start_.step);
  bool all = !window.events_behind && !window.reports_behind;
  if (!window.events_behind) {
    const auto first = std::partition_point(
        events_.begin(), events_.end(), [&cursor](const EncodedEvent& event) { return event.number <= cursor.event; });
    window.left_bytes += BytesFrom(events_, first, event_bytes_);
    all &= TakeFrom(first, events_.end(), max_bytes, &bytes, &window.events);
  }
  if (!window.reports_behind) {
    const auto first = std::partition_point(reports_.begin(), reports_.end(), [&cursor](const EncodedReport& report) {
      return IsDelivered(cursor, report.attempt, report.step);
    });
    window.left_bytes += BytesFrom(reports_, first, report_bytes_);
    all &= TakeFrom(first, reports_.end(), max_bytes, &bytes, &window.reports);
  }
  window.complete = all;
  window.ended = all && ended_;
  return window;
}

WatchCursor JobChannel::End() const {
  absl::MutexLock lock(&mutex_);
  return end_;
}

bool JobChannel::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

// Reports go first: there are more of them, and what is rare, alerts among it, is asked for by more readers.
size_t JobChannel::Shrink(size_t bytes) {
  absl::MutexLock lock(&mutex_);
  while (report_bytes_ + event_bytes_ > bytes && !reports_.empty()) DropReport();
  while (report_bytes_ + event_bytes_ > bytes && !events_.empty()) DropEvent();
  return report_bytes_ + event_bytes_;
}

void JobChannel::DropEvent() {
  start_.event = events_.front().number;
  event_bytes_ -= SizeOf(events_.front());
  events_.pop_front();
}

void JobChannel::DropReport() {
  start_.attempt = reports_.front().attempt;
  start_.step = reports_.front().step;
  report_bytes_ -= SizeOf(reports_.front());
  reports_.pop_front();
}

}  // namespace gradwatch::server
