#include "server/stream/watch_feed.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/stream/slices.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedOutputStream;

// Events read from the store at once.
constexpr int kMaxStoredEvents = 256;
// Reads for one message that the filter may keep back wholly, before the thread goes to the next watcher.
constexpr int kMaxReads = 16;
constexpr uint32_t kTokenTag =
    WireFormatLite::MakeTag(v1::WatchJobResponse::kResumeTokenFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

// The field `resume_token`.
grpc::Slice EncodeToken(const std::string& token) {
  uint8_t head[16];
  uint8_t* end = CodedOutputStream::WriteTagToArray(kTokenTag, head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(token.size()), end);
  return SliceOf(std::string(head, end) + token);
}

}  // namespace

struct WatchFeed::Content {
  std::vector<grpc::Slice> events;
  std::vector<grpc::Slice> reports;
  size_t bytes = 0;
  WatchCursor cursor;  // after this content
};

WatchFeed::WatchFeed(std::shared_ptr<JobChannel> channel, LedgerReader* ledger, StatisticsStore* statistics,
                     WatchFilter filter, WatchCursor start, std::string log_epoch,
                     std::vector<std::string> tensor_names)
    : channel_(std::move(channel)),
      ledger_(ledger),
      statistics_(statistics),
      events_only_(filter.events_only),
      filter_hash_(filter.Hash()),
      log_epoch_(std::move(log_epoch)),
      reports_(filter),
      cursor_(start) {
  SetTensorNames(tensor_names);
}

std::string WatchFeed::Token() const {
  return ResumeToken{log_epoch_, channel_->uid(), cursor_, 0, filter_hash_}.Encode();
}

absl::StatusOr<WatchFeed::Part> WatchFeed::Next(size_t max_bytes) {
  max_bytes = std::max<size_t>(max_bytes, 1);
  Content content;
  content.cursor = cursor_;
  JobChannel::Window window;
  for (int reads = 0; reads < kMaxReads && content.bytes < max_bytes; ++reads) {
    WatchCursor from = content.cursor;
    if (events_only_) {  // as if all reports had been delivered
      from.attempt = std::numeric_limits<int32_t>::max();
      from.step = std::numeric_limits<int64_t>::max();
    }
    window = channel_->Read(from, max_bytes - content.bytes);
    GW_RETURN_IF_ERROR(TakeEvents(window, max_bytes, &content));
    GW_RETURN_IF_ERROR(TakeReports(window, max_bytes, &content));
    if (window.complete) break;
  }
  cursor_ = content.cursor;
  if (content.bytes > 0 || !window.complete) return MakePart(std::move(content));
  Part nothing;
  nothing.ended = window.ended;
  return nothing;
}

absl::Status WatchFeed::TakeEvents(JobChannel::Window& window, size_t max_bytes, Content* content) {
  if (window.events_behind) return TakeStoredEvents(window, max_bytes, content);
  for (EncodedEvent& event : window.events) {
    content->cursor.event = event.number;
    content->bytes += event.slice.size();
    content->events.push_back(std::move(event.slice));
  }
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeStoredEvents(const JobChannel::Window& window, size_t max_bytes, Content* content) {
  GW_ASSIGN_OR_RETURN(const auto stored, ledger_->ReadEvents(channel_->uid(), content->cursor.event, kMaxStoredEvents));
  if (stored.empty()) return core::WithReason(absl::NotFoundError("the job was deleted"), "JOB_NOT_FOUND");
  for (const auto& [position, event] : stored) {
    if (event.number() > window.end.event) break;  // durable, but not yet published
    if (event.number() != content->cursor.event + 1) {
      return core::WithReason(
          absl::DataLossError(absl::StrCat("event ", content->cursor.event + 1, " is not in the log")), "LOG_CORRUPT");
    }
    EncodedEvent encoded = EncodeEvent(event);
    content->cursor.event = encoded.number;
    content->bytes += encoded.slice.size();
    content->events.push_back(std::move(encoded.slice));
    if (content->bytes >= max_bytes) break;
  }
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeReports(JobChannel::Window& window, size_t max_bytes, Content* content) {
  if (window.reports_behind) {
    return content->bytes < max_bytes ? TakeStoredReports(window, max_bytes, content) : absl::OkStatus();
  }
  for (ReportSlice& report : window.reports) GW_RETURN_IF_ERROR(TakeReport(std::move(report), content));
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeStoredReports(const JobChannel::Window& window, size_t max_bytes, Content* content) {
  WatchCursor& cursor = content->cursor;
  GW_ASSIGN_OR_RETURN(auto stored,
                      statistics_->ReadAfter(channel_->uid(), cursor.attempt, cursor.step, max_bytes - content->bytes));
  if (stored.empty() || !IsDelivered(window.end, stored[0].attempt, stored[0].step)) {
    // Nothing lies between the cursor and the ring.
    cursor.attempt = window.start.attempt;
    cursor.step = window.start.step;
    return absl::OkStatus();
  }
  for (EncodedReport& report : stored) {
    if (!IsDelivered(window.end, report.attempt, report.step)) break;  // durable, but not yet published
    GW_RETURN_IF_ERROR(TakeReport({report.attempt, report.step, SliceOf(std::move(report.bytes))}, content));
  }
  return absl::OkStatus();
}

absl::Status WatchFeed::TakeReport(ReportSlice report, Content* content) {
  content->cursor.attempt = report.attempt;
  content->cursor.step = report.step;
  if (!reports_.WantsStep(report.step)) return absl::OkStatus();
  GW_RETURN_IF_ERROR(reports_.KeepWantedTensors(&report));
  content->bytes += report.slice.size();
  content->reports.push_back(std::move(report.slice));
  return absl::OkStatus();
}

WatchFeed::Part WatchFeed::MakePart(Content content) const {
  std::vector<grpc::Slice> slices = std::move(content.events);
  std::move(content.reports.begin(), content.reports.end(), std::back_inserter(slices));
  slices.push_back(EncodeToken(Token()));
  Part part;
  part.message = grpc::ByteBuffer(slices.data(), slices.size());
  part.has_message = true;
  return part;
}

}  // namespace gradwatch::server
