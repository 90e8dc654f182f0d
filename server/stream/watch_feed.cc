#include "server/stream/watch_feed.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

// Events read from the store at once.
constexpr int kMaxStoredEvents = 256;
// Reads for one message that the filter may keep back wholly, before the thread goes to the next watcher.
constexpr int kMaxReads = 16;
// Who has more than this to take from a ring does so on the lane of those who catch up.
constexpr size_t kMuch = 512 << 10;

}  // namespace

WatchFeed::WatchFeed(std::shared_ptr<JobChannel> channel, const FeedSources* sources, WatchFilter filter,
                     WatchCursor start, const std::vector<std::string>& tensor_names)
    : channel_(std::move(channel)),
      sources_(sources),
      events_only_(filter.events_only),
      filter_hash_(filter.Hash()),
      reports_(filter),
      cursor_(start) {
  SetTensorNames(tensor_names);
}

std::string WatchFeed::Token() const {
  return ResumeToken{sources_->log_epoch, channel_->uid(), cursor_, 0, filter_hash_}.Encode();
}

absl::StatusOr<WatchFeed::Part> WatchFeed::Next(size_t max_bytes, Lane lane) {
  max_bytes = std::max<size_t>(max_bytes, 1);
  Content content;
  content.cursor = cursor_;
  JobChannel::Window window;
  bool behind = false;
  for (int reads = 0; reads < kMaxReads && content.bytes < max_bytes; ++reads) {
    WatchCursor from = content.cursor;
    if (events_only_) {  // as if all reports had been delivered
      from.attempt = std::numeric_limits<int32_t>::max();
      from.step = std::numeric_limits<int64_t>::max();
    }
    window = channel_->Read(from, max_bytes - content.bytes);
    behind = window.events_behind || window.reports_behind || window.left_bytes > kMuch;
    if (behind && lane == Lane::kLive) break;
    GW_RETURN_IF_ERROR(TakeEvents(window, max_bytes, &content));
    GW_RETURN_IF_ERROR(TakeReports(window, max_bytes, &content));
    if (window.complete) break;
  }
  cursor_ = content.cursor;
  const bool must_wait = behind && lane == Lane::kLive;
  Part part;
  if (content.bytes > 0 || !(window.complete || must_wait)) part = MakePart(std::move(content));
  part.behind = behind;
  part.ended = !part.message.has_value() && window.ended;
  return part;
}

absl::Status WatchFeed::TakeEvents(JobChannel::Window& window, size_t max_bytes, Content* content) {
  if (window.events_behind) return TakeStoredEvents(window, max_bytes, content);
  for (EncodedEvent& event : window.events) {
    content->cursor.event = event.number;
    content->bytes += event.bytes->size();
    content->events.push_back(std::move(event.bytes));
  }
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeStoredEvents(const JobChannel::Window& window, size_t max_bytes, Content* content) {
  GW_ASSIGN_OR_RETURN(const auto stored, sources_->ledger->ReadEvents(channel_->uid(), content->cursor.event,
                                                                      kMaxStoredEvents, max_bytes - content->bytes));
  if (stored.empty()) return core::WithReason(absl::NotFoundError("the job was deleted"), "JOB_NOT_FOUND");
  for (const auto& [position, event] : stored) {
    if (event.number() > window.end.event) break;  // durable, but not yet published
    if (event.number() != content->cursor.event + 1) {
      return core::WithReason(
          absl::DataLossError(absl::StrCat("event ", content->cursor.event + 1, " is not in the log")), "LOG_CORRUPT");
    }
    EncodedEvent encoded = EncodeEvent(event, position);
    content->cursor.event = encoded.number;
    content->bytes += encoded.bytes->size();
    content->events.push_back(std::move(encoded.bytes));
  }
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeReports(const JobChannel::Window& window, size_t max_bytes, Content* content) {
  if (window.reports_behind) {
    return content->bytes < max_bytes ? TakeStoredReports(window, content) : absl::OkStatus();
  }
  for (const EncodedReport& report : window.reports) GW_RETURN_IF_ERROR(TakeReport(report, content));
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeStoredReports(const JobChannel::Window& window, Content* content) {
  WatchCursor& cursor = content->cursor;
  const auto chunk = sources_->history->ReadAfter(channel_->uid(), cursor.attempt, cursor.step);
  if (absl::IsDataLoss(chunk.status())) {
    TakeMissing(window.start, kDamagedReason, content);
    return absl::OkStatus();
  }
  GW_RETURN_IF_ERROR(chunk.status());
  if (*chunk != nullptr) {
    const WatchCursor before = cursor;
    GW_RETURN_IF_ERROR(TakeChunk(**chunk, window.end, content));
    if (cursor != before) return absl::OkStatus();
  }
  // Nothing that is published lies between the cursor and the ring.
  TakeMissing(window.start, "what was stored is gone", content);
  return absl::OkStatus();
}

// Entries behind `end` are durable, but not yet published.
absl::Status WatchFeed::TakeChunk(const ReportHistory::Chunk& chunk, const WatchCursor& end, Content* content) {
  using Entry = ReportHistory::Chunk::Entry;
  const auto delivered_to = [](const WatchCursor& cursor) {
    return [&cursor](const Entry& entry) { return IsDelivered(cursor, entry.attempt, entry.step); };
  };
  auto first = std::partition_point(chunk.entries.begin(), chunk.entries.end(), delivered_to(content->cursor));
  const auto last = std::partition_point(first, chunk.entries.end(), delivered_to(end));
  if (first == last) return absl::OkStatus();
  if (!chunk.damage.empty()) {
    sources_->tell_loss(channel_->uid(), absl::StrCat("statistics of attempt ", first->attempt, ": ", chunk.damage));
  }
  const bool cut = first->lost && IsDelivered(content->cursor, first->attempt, first->first_step);
  if (reports_.WantsAll() && !cut) {
    const bool whole = first == chunk.entries.begin() && last == chunk.entries.end();
    const size_t begin = first->begin, size = std::prev(last)->end - begin;
    content->reports.push_back(whole ? chunk.bytes
                                     : std::make_shared<const std::string>(chunk.bytes->substr(begin, size)));
    content->bytes += size;
    content->cursor.attempt = std::prev(last)->attempt;
    content->cursor.step = std::prev(last)->step;
    return absl::OkStatus();
  }
  for (; first != last; ++first) {
    if (!first->lost && !reports_.WantsStep(first->step)) {  // not worth a copy
      content->cursor.attempt = first->attempt;
      content->cursor.step = first->step;
      continue;
    }
    GW_RETURN_IF_ERROR(TakeReport(
        {.attempt = first->attempt,
         .step = first->step,
         .first_step = first->first_step,
         .lost = first->lost,
         .bytes = std::make_shared<const std::string>(chunk.bytes->substr(first->begin, first->end - first->begin))},
        content));
  }
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeReport(const EncodedReport& report, Content* content) {
  const WatchCursor before = content->cursor;
  content->cursor.attempt = report.attempt;
  content->cursor.step = report.step;
  SharedBytes bytes = report.bytes;
  if (report.lost) {
    bytes = Undelivered(report, before).bytes;
  } else {
    if (!reports_.WantsStep(report.step)) return absl::OkStatus();
    GW_ASSIGN_OR_RETURN(SharedBytes changed, reports_.WithoutUnwanted(*report.bytes));
    if (changed != nullptr) bytes = std::move(changed);
  }
  content->bytes += bytes->size();
  content->reports.push_back(std::move(bytes));
  return absl::OkStatus();
}

// Every step is stored, as a report or as lost: what is not there up to the place where the ring starts, was. How far
// the attempts before that of the ring went is not known here.
void WatchFeed::TakeMissing(const WatchCursor& start, const std::string& reason, Content* content) {
  WatchCursor& cursor = content->cursor;
  const int64_t first = cursor.attempt == start.attempt ? cursor.step + 1 : 0;
  if (start.attempt > 0 && first <= start.step) {
    sources_->tell_loss(channel_->uid(), absl::StrCat("statistics of attempt ", start.attempt, ": ", reason));
    SharedBytes lost = EncodeLost(start.attempt, first, start.step, reason).bytes;
    content->bytes += lost->size();
    content->reports.push_back(std::move(lost));
  }
  cursor.attempt = start.attempt;
  cursor.step = start.step;
}

WatchFeed::Part WatchFeed::MakePart(Content content) const {
  EncodedMessage message;
  message.parts = std::move(content.events);
  std::move(content.reports.begin(), content.reports.end(), std::back_inserter(message.parts));
  message.parts.push_back(EncodeField(v1::WatchJobResponse::kResumeTokenFieldNumber, Token()));
  Part part;
  part.message = std::move(message);
  return part;
}

}  // namespace gradwatch::server
