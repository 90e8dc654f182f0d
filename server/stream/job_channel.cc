#include "server/stream/job_channel.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "gradwatch/v1/watch_service.pb.h"
#include "server/stream/slices.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedOutputStream;

constexpr uint32_t kEventTag =
    WireFormatLite::MakeTag(v1::WatchJobResponse::kEventsFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

// Copies what lies from `first` on into `taken` while `*bytes` is below `max_bytes`; false: something was left.
template <typename Iterator, typename Entry>
bool TakeFrom(Iterator first, Iterator last, size_t max_bytes, size_t* bytes, std::vector<Entry>* taken) {
  for (; first != last; ++first) {
    if (*bytes >= max_bytes) return false;
    *bytes += first->slice.size();
    taken->push_back(*first);
  }
  return true;
}

}  // namespace

EncodedEvent EncodeEvent(const v1::Event& event) {
  const size_t length = event.ByteSizeLong();
  uint8_t head[16];
  uint8_t* end = CodedOutputStream::WriteTagToArray(kEventTag, head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(length), end);
  std::string bytes(head, end);
  event.AppendToString(&bytes);
  return {event.number(), SliceOf(std::move(bytes))};
}

JobChannel::JobChannel(std::string uid, const WatchCursor& end, bool ended, size_t ring_bytes)
    : uid_(std::move(uid)), ring_bytes_(ring_bytes), start_(end), end_(end), ended_(ended) {}

void JobChannel::AppendEvent(const v1::Event& event, bool ends_job) {
  EncodedEvent encoded = EncodeEvent(event);
  absl::MutexLock lock(&mutex_);
  end_.event = encoded.number;
  ended_ = ended_ || ends_job;
  event_bytes_ += encoded.slice.size();
  events_.push_back(std::move(encoded));
  while (event_bytes_ > ring_bytes_ && events_.size() > 1) {
    start_.event = events_.front().number;
    event_bytes_ -= events_.front().slice.size();
    events_.pop_front();
  }
}

void JobChannel::AppendReports(const std::vector<EncodedReport>& reports) {
  std::vector<ReportSlice> slices;  // copied outside the lock
  slices.reserve(reports.size());
  for (const EncodedReport& report : reports) slices.push_back({report.attempt, report.step, SliceOf(report.bytes)});
  absl::MutexLock lock(&mutex_);
  for (ReportSlice& report : slices) {
    if (IsDelivered(end_, report.attempt, report.step)) continue;
    end_.attempt = report.attempt;
    end_.step = report.step;
    report_bytes_ += report.slice.size();
    reports_.push_back(std::move(report));
  }
  while (report_bytes_ > ring_bytes_ && reports_.size() > 1) {
    start_.attempt = reports_.front().attempt;
    start_.step = reports_.front().step;
    report_bytes_ -= reports_.front().slice.size();
    reports_.pop_front();
  }
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
    all &= TakeFrom(first, events_.end(), max_bytes, &bytes, &window.events);
  }
  if (!window.reports_behind) {
    const auto first = std::partition_point(reports_.begin(), reports_.end(), [&cursor](const ReportSlice& report) {
      return IsDelivered(cursor, report.attempt, report.step);
    });
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

}  // namespace gradwatch::server
