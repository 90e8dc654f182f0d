#include "server/stream/watch_feed.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/history/encoded_report.h"
#include "server/stream/conflated_point.h"

namespace gradwatch::server {
namespace {

// Events read from the store at once.
constexpr int kMaxStoredEvents = 256;
// Reads for one message that the filter may keep back wholly, before the thread goes to the next watcher.
constexpr int kMaxReads = 16;
// Who has more than this to take from a ring does so on the lane of those who catch up.
constexpr size_t kMuch = 512 << 10;
// Ranges of more steps are never closed before the end.
constexpr int64_t kLargestUnit = int64_t{1} << 40;

// As if all reports had been delivered.
WatchCursor WithoutReports(WatchCursor cursor) {
  cursor.attempt = std::numeric_limits<int32_t>::max();
  cursor.step = std::numeric_limits<int64_t>::max();
  return cursor;
}

const ReportChoice& WithoutTensors() {
  static const auto& choice = *[] {
    auto* const most = new ReportChoice;
    most->tensor = most->layer = 0;
    most->histograms = false;
    return most;
  }();
  return choice;
}

}  // namespace

WatchFeed::WatchFeed(std::shared_ptr<JobChannel> channel, const FeedSources* sources, WatchFilter filter,
                     WatchCursor start, const std::vector<std::string>& tensor_names)
    : channel_(std::move(channel)),
      sources_(sources),
      events_only_(filter.events_only),
      conflated_(filter.conflated),
      unit_(std::clamp<int64_t>(filter.every_steps, 1, kLargestUnit)),
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
  for (int reads = 0; reads < kMaxReads && HasRoom(content, max_bytes); ++reads) {
    const bool without_reports = events_only_ || (conflated_ && !HasClosedRange(content.cursor));
    window = Read(without_reports ? WithoutReports(content.cursor) : content.cursor, lane, max_bytes, content);
    if (window.ended && without_reports && !events_only_) {  // it has just ended, and its last range is closed now
      window.complete = window.ended = false;
      continue;
    }
    behind = window.events_behind || window.reports_behind || window.left_bytes > kMuch;
    if (behind && lane == Lane::kLive) break;
    GW_RETURN_IF_ERROR(TakeEvents(window, max_bytes, &content));
    GW_RETURN_IF_ERROR(conflated_ ? TakeRanges(window, max_bytes, &content) : TakeReports(window, max_bytes, &content));
    if (window.complete) break;
  }
  cursor_ = content.cursor;
  const bool must_wait = behind && lane == Lane::kLive;
  Part part;
  if (content.bytes > 0 || !(window.complete || must_wait)) part = MakePart(std::move(content));
  part.behind = behind;
  part.ended = !part.message.has_value() && window.ended && !must_wait;
  return part;
}

// What comes after `cursor`, for the rest of the message.
JobChannel::Window WatchFeed::Read(const WatchCursor& cursor, Lane lane, size_t max_bytes,
                                   const Content& content) const {
  const size_t left = max_bytes - content.bytes;
  if (!conflated_) return channel_->Read(cursor, left);
  const size_t most_left = lane == Lane::kLive ? kMuch : std::numeric_limits<size_t>::max();
  return channel_->ReadRanges(
      cursor, left,
      {.unit = unit_, .max_ranges = kMaxPoints - content.points, .max_lost = kMaxLost, .most_left_bytes = most_left});
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

// Entries behind `end` are durable, but not yet published; of a lost range the part before it is.
absl::Status WatchFeed::TakeChunk(const ReportHistory::Chunk& chunk, const WatchCursor& end, Content* content) {
  const auto delivered_to = [](const WatchCursor& cursor) {
    return
        [&cursor](const ReportHistory::Chunk::Entry& entry) { return IsDelivered(cursor, entry.attempt, entry.step); };
  };
  const auto first = std::partition_point(chunk.entries.begin(), chunk.entries.end(), delivered_to(content->cursor));
  const auto last = std::partition_point(first, chunk.entries.end(), delivered_to(end));
  const bool is_cut = last != chunk.entries.end() && last->lost && IsDelivered(end, last->attempt, last->first_step);
  if (first == last && !is_cut) return absl::OkStatus();
  if (!chunk.damage.empty()) TellLoss(chunk.damaged_attempt, chunk.damage);
  GW_RETURN_IF_ERROR(TakeEntries(chunk, first - chunk.entries.begin(), last - chunk.entries.begin(), content));
  if (!is_cut) return absl::OkStatus();
  return TakeReport(CutLost(chunk.EntryAt(*last), last->first_step, end.step), content);
}

// The entries [begin, end).
absl::Status WatchFeed::TakeEntries(const ReportHistory::Chunk& chunk, ptrdiff_t begin, ptrdiff_t end,
                                    Content* content) {
  if (begin == end) return absl::OkStatus();
  const auto first = chunk.entries.begin() + begin, last = chunk.entries.begin() + end;
  const bool cut = first->lost && IsDelivered(content->cursor, first->attempt, first->first_step);
  if (reports_.WantsAll() && !cut) {
    const bool whole = first == chunk.entries.begin() && last == chunk.entries.end();
    const size_t offset = first->begin, size = std::prev(last)->end - offset;
    content->reports.push_back(whole ? chunk.bytes
                                     : std::make_shared<const std::string>(chunk.bytes->substr(offset, size)));
    content->bytes += size;
    content->cursor.attempt = std::prev(last)->attempt;
    content->cursor.step = std::prev(last)->step;
    return absl::OkStatus();
  }
  for (auto entry = first; entry != last; ++entry) {
    if (entry->lost || reports_.WantsStep(entry->step)) {
      GW_RETURN_IF_ERROR(TakeReport(chunk.EntryAt(*entry), content));
    } else {  // not worth a copy
      content->cursor.attempt = entry->attempt;
      content->cursor.step = entry->step;
    }
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

// Before a range is closed nothing is read, however often the reports of its steps wake their watchers.
bool WatchFeed::HasClosedRange(const WatchCursor& cursor) const {
  if (channel_->ended()) return true;
  const WatchCursor end = channel_->End();
  return end.attempt > std::max(cursor.attempt, 1) || LastClosed(end.step, unit_) > cursor.step;
}

absl::Status WatchFeed::TakeRanges(const JobChannel::Window& window, size_t max_bytes, Content* content) {
  if (window.reports_behind) {
    return content->bytes < max_bytes ? TakeStoredPoints(window, content) : absl::OkStatus();
  }
  if (window.ranges.empty() && window.lost.empty()) return absl::OkStatus();
  for (const EncodedReport& lost : window.lost) TakeLost(lost, content);
  for (size_t i = 0; i < window.ranges.size(); ++i) {
    const std::string& last = *window.reports[i].bytes;
    GW_ASSIGN_OR_RETURN(const SharedBytes changed, reports_.WithoutUnwanted(last));
    TakePoint(window.reached.attempt, window.ranges[i], changed != nullptr ? *changed : last, content);
  }
  content->cursor.attempt = window.reached.attempt;
  content->cursor.step = window.reached.step;
  return absl::OkStatus();
}

// How far the store is to be asked for ranges of this attempt, which begin before the ring: the range in which the ring
// begins comes from there as a whole, if it is closed.
int64_t WatchFeed::LastStored(const JobChannel::Window& window, int32_t attempt) const {
  if (attempt != window.start.attempt) return std::numeric_limits<int64_t>::max();
  const int64_t whole = LastClosed(window.start.step + unit_ - 1, unit_);
  if (attempt != window.end.attempt || whole <= window.end.step) return whole;
  return window.job_ended ? window.end.step : LastClosed(window.start.step, unit_);
}

// What lies between the cursor and the ring, of one attempt.
absl::Status WatchFeed::TakeStoredPoints(const JobChannel::Window& window, Content* content) {
  WatchCursor& cursor = content->cursor;
  const int32_t attempt = std::max(cursor.attempt, 1);
  const bool reaches_ring = attempt == window.start.attempt;
  const StepRange steps = {.first = cursor.step + 1, .last = LastStored(window, attempt)};
  GW_ASSIGN_OR_RETURN(const auto source, sources_->statistics->Source(channel_->uid(), attempt));
  GW_ASSIGN_OR_RETURN(const StoredRanges stored,
                      ConflateStored(steps, kMaxPoints - content->points, source.get(), unit_, kMaxLost));
  if (stored.last_step < steps.first) {
    if (reaches_ring) {
      TakeMissing(window.start, "what was stored is gone", content);
    } else {
      cursor.attempt = attempt + 1;
      cursor.step = -1;
    }
    return absl::OkStatus();
  }
  for (const LostSteps& lost : stored.lost) {
    if (absl::StartsWith(lost.reason, kDamagedReason)) TellLoss(attempt, lost.reason);
    TakeLost(EncodeLost(attempt, lost.steps.first, lost.steps.last, lost.reason), content);
  }
  GW_ASSIGN_OR_RETURN(const std::vector<SharedBytes> last, LastReports(stored.ranges, source.get()));
  for (size_t i = 0; i < stored.ranges.size(); ++i) {
    TakePoint(attempt, stored.ranges[i], last[i] != nullptr ? absl::string_view(*last[i]) : "", content);
  }
  cursor.attempt = attempt;
  cursor.step = stored.last_step;
  return absl::OkStatus();
}

// Of all but the newest report statistics of tensors would cost more than all ranges.
absl::StatusOr<std::vector<SharedBytes>> WatchFeed::LastReports(const std::vector<ConflatedRange>& ranges,
                                                                BlockSource* source) const {
  std::vector<SharedBytes> last(ranges.size());
  std::vector<int64_t> steps;
  for (const ConflatedRange& range : ranges) steps.push_back(range.steps.last);
  absl::Status status;
  const auto take = [&](const v1::StepReport& report) {
    const auto place = std::lower_bound(steps.begin(), steps.end(), report.step()) - steps.begin();
    SharedBytes bytes = EncodeReport(report).bytes;
    auto changed = reports_.WithoutUnwanted(*bytes);
    status.Update(changed.status());
    if (!changed.ok()) return;
    last[static_cast<size_t>(place)] = *changed != nullptr ? *std::move(changed) : std::move(bytes);
  };
  const absl::Span<const int64_t> all = steps;
  if (all.empty()) return last;
  GW_RETURN_IF_ERROR(ReadReports(all.first(all.size() - 1), WithoutTensors(), source, take));
  GW_RETURN_IF_ERROR(ReadReports(all.last(1), ReportChoice::Everything(), source, take));
  GW_RETURN_IF_ERROR(status);
  return last;
}

void WatchFeed::TakePoint(int32_t attempt, const ConflatedRange& range, absl::string_view last_report,
                          Content* content) {
  SharedBytes point = EncodePoint(attempt, range, last_report);
  content->bytes += point->size();
  ++content->points;
  content->reports.push_back(std::move(point));
}

void WatchFeed::TakeLost(const EncodedReport& lost, Content* content) {
  content->bytes += lost.bytes->size();
  ++content->lost;
  content->reports.push_back(lost.bytes);
}

// Every step is stored, as a report or as lost: what is not there up to the place where the ring starts, was. How far
// the attempts before that of the ring went is not known here.
void WatchFeed::TakeMissing(const WatchCursor& start, const std::string& reason, Content* content) {
  WatchCursor& cursor = content->cursor;
  const int64_t first = cursor.attempt == start.attempt ? cursor.step + 1 : 0;
  if (start.attempt > 0 && first <= start.step) {
    TellLoss(start.attempt, reason);
    TakeLost(EncodeLost(start.attempt, first, start.step, reason), content);
  }
  cursor.attempt = start.attempt;
  cursor.step = start.step;
}

void WatchFeed::TellLoss(int32_t attempt, absl::string_view reason) const {
  sources_->tell_loss(channel_->uid(), absl::StrCat("statistics of attempt ", attempt, ": ", reason));
}

WatchFeed::Part WatchFeed::MakePart(Content content) const {
  Part part;
  part.has_events = !content.events.empty();
  EncodedMessage message;
  message.parts = std::move(content.events);
  std::move(content.reports.begin(), content.reports.end(), std::back_inserter(message.parts));
  message.parts.push_back(EncodeField(v1::WatchJobResponse::kResumeTokenFieldNumber, Token()));
  part.message = std::move(message);
  return part;
}

}  // namespace gradwatch::server
