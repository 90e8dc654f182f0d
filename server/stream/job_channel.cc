#include "server/stream/job_channel.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/stream/conflated_point.h"

namespace gradwatch::server {
namespace {

// Of a point without its last report.
constexpr size_t kPointBytes = 64;

template <typename Entry>
size_t SizeOf(const Entry& entry) {
  return entry.bytes->size() + kEntryOverhead;
}

// Reports that come from a trainer are at hand; others are read.
StepFigures FiguresOf(const EncodedReport& report) {
  if (report.lost) return {.step = report.step, .loss = 0, .grad_norm = std::nullopt};
  return report.report != nullptr ? server::FiguresOf(*report.report) : ReadFigures(report);
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
      reports_.push_back({.entry = Undelivered(report, end_), .figures = FiguresOf(report)});
      reports_.back().entry.report = nullptr;  // its memory is not the budget's
      report_bytes_ += SizeOf(reports_.back().entry);
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
  window.complete = TakeEvents(cursor, max_bytes, &bytes, &window);
  if (!window.reports_behind) window.complete &= TakeReports(cursor, max_bytes, &bytes, &window);
  window.ended = window.complete && ended_;
  return window;
}

JobChannel::Window JobChannel::ReadRanges(const WatchCursor& cursor, size_t max_bytes,
                                          const RangeLimits& limits) const {
  Window window;
  size_t bytes = 0;
  absl::MutexLock lock(&mutex_);
  window.complete = TakeEvents(cursor, max_bytes, &bytes, &window);
  const size_t left = max_bytes - std::min(bytes, max_bytes);
  if (!window.reports_behind) window.complete &= TakeRanges(cursor, left, limits, &window);
  window.ended = window.complete && ended_;
  return window;
}

bool JobChannel::TakeEvents(const WatchCursor& cursor, size_t max_bytes, size_t* bytes, Window* window) const {
  window->start = start_;
  window->end = end_;
  window->job_ended = ended_;
  window->events_behind = cursor.event < start_.event;
  window->reports_behind = !IsDelivered(cursor, start_.attempt, start_.step);
  if (window->events_behind) return false;
  auto event = std::partition_point(events_.begin(), events_.end(),
                                    [&cursor](const EncodedEvent& one) { return one.number <= cursor.event; });
  window->left_bytes += BytesFrom(events_, event, event_bytes_);
  for (; event != events_.end() && *bytes < max_bytes; ++event) {
    *bytes += event->bytes->size();
    window->events.push_back(*event);
  }
  return event == events_.end() && !window->reports_behind;
}

JobChannel::Reports JobChannel::FirstAfter(const WatchCursor& cursor) const {
  return std::partition_point(reports_.begin(), reports_.end(), [&cursor](const RingReport& one) {
    return IsDelivered(cursor, one.entry.attempt, one.entry.step);
  });
}

bool JobChannel::TakeReports(const WatchCursor& cursor, size_t max_bytes, size_t* bytes, Window* window) const {
  auto report = FirstAfter(cursor);
  window->left_bytes += BytesFrom(reports_, report, report_bytes_);
  for (; report != reports_.end() && *bytes < max_bytes; ++report) {
    *bytes += report->entry.bytes->size();
    window->reports.push_back(report->entry);
  }
  return report == reports_.end();
}

bool JobChannel::TakeRanges(const WatchCursor& cursor, size_t max_bytes, const RangeLimits& limits,
                            Window* window) const {
  const auto begin = FirstAfter(cursor);
  window->left_bytes += BytesFrom(reports_, begin, report_bytes_);
  if (begin == reports_.end()) return true;
  if (max_bytes == 0 || window->left_bytes > limits.most_left_bytes) return false;
  // Of one attempt, up to the last range that is closed; what is behind it comes with its range.
  const int32_t attempt = begin->entry.attempt;
  const bool is_last = attempt == end_.attempt;
  const int64_t last = is_last && !ended_ ? LastClosed(end_.step, limits.unit) : std::numeric_limits<int64_t>::max();
  const auto end = EndOfRanges(begin, last, limits);
  size_t bytes = 0;
  int64_t reports = 0;
  for (auto at = begin; at != end; ++at) {
    if (at->entry.lost) {
      window->lost.push_back(Undelivered(at->entry, cursor));
    } else {
      bytes += at->entry.bytes->size() + kPointBytes;
      ++reports;
    }
  }
  if (end == begin) return true;
  window->reached = {.event = cursor.event, .attempt = attempt, .step = std::prev(end)->entry.step};
  if (reports > 0) {
    const auto most = static_cast<int64_t>(max_bytes / (bytes / static_cast<size_t>(reports)));
    MakeRanges(begin, end, std::clamp<int64_t>(most, 1, limits.max_ranges), limits.unit, window);
  }
  return is_last && (end == reports_.end() || end->entry.step > last);
}

JobChannel::Reports JobChannel::EndOfRanges(Reports begin, int64_t last, const RangeLimits& limits) const {
  auto end = begin, cut = begin;  // behind the last range that is closed before `end`
  int64_t lost = 0;
  for (; end != reports_.end() && end->entry.attempt == begin->entry.attempt && end->entry.step <= last; ++end) {
    if (end != begin && std::prev(end)->entry.step / limits.unit < end->entry.first_step / limits.unit) cut = end;
    // A unit with more of them is cut: else nothing would ever come.
    if (end->entry.lost && ++lost > limits.max_lost) return cut != begin ? cut : end;
  }
  return end;
}

// Of the entries from `begin` to `end`, at least one of which is a report.
void JobChannel::MakeRanges(Reports begin, Reports end, int64_t max_ranges, int64_t unit, Window* window) const {
  while (begin->entry.lost) ++begin;
  while (std::prev(end)->entry.lost) --end;
  RangeMaker maker({.first = begin->entry.step, .last = std::prev(end)->entry.step}, max_ranges, unit);
  std::vector<const EncodedReport*> last;
  for (; begin != end; ++begin) {
    if (begin->entry.lost) continue;
    if (maker.Add(begin->figures)) last.push_back(nullptr);
    last.back() = &begin->entry;
  }
  window->ranges = maker.TakeRanges();
  for (const EncodedReport* const report : last) window->reports.push_back(*report);
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
  const EncodedReport& report = reports_.front().entry;
  start_.attempt = report.attempt;
  start_.step = report.step;
  report_bytes_ -= SizeOf(report);
  reports_.pop_front();
}

}  // namespace gradwatch::server
