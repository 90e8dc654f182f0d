#include "server/api/event_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/stream/resume_token.h"
#include "server/stream/watch_filter.h"

namespace gradwatch::server {
namespace {

using Response = v1::WatchJobsResponse;
using Alerts = v1::WatchAlertsResponse;

// What is written here is a message of either stream.
static_assert(int{Response::kShuttingDownFieldNumber} == int{Alerts::kShuttingDownFieldNumber});
static_assert(int{Response::kResumeTokenFieldNumber} == int{Alerts::kResumeTokenFieldNumber});
static_assert(int{Response::kBookmarkTimeFieldNumber} == int{Alerts::kBookmarkTimeFieldNumber});

// Filters in the form whose hash tokens carry.
uint64_t HashOf(std::vector<std::string> words) {
  return WatchFilter{.events_only = true, .every_steps = 1, .tensors = std::move(words)}.Hash();
}

// Every position that was ever given is a place to go on from, also when its job was deleted since.
absl::StatusOr<int64_t> ReadToken(const std::string& text, uint64_t filter_hash, const EventWatchContext& context) {
  GW_ASSIGN_OR_RETURN(const ResumeToken token, ResumeToken::Decode(text));
  if (!token.uid.empty() || token.filter_hash != filter_hash) {
    return core::WithReason(absl::InvalidArgumentError("resume_token: it belongs to another stream, or one with other "
                                                       "filters"),
                            "RESUME_TOKEN_MISMATCH");
  }
  if (token.log_epoch != context.log_epoch || token.position > context.events->End()) {
    return core::WithReason(absl::OutOfRangeError("resume_token: it belongs to another data folder"),
                            "HISTORY_REWOUND");
  }
  return token.position;
}

template <typename Request>
absl::StatusOr<int64_t> ReadStart(const Request& request, uint64_t filter_hash, const EventWatchContext& context) {
  if (request.has_resume_token()) return ReadToken(request.resume_token(), filter_hash, context);
  return request.from_beginning() ? 0 : context.events->End();
}

}  // namespace

absl::StatusOr<std::shared_ptr<EventWatch>> EventWatch::OfAlerts(const v1::WatchAlertsRequest& request,
                                                                 const EventWatchContext* context,
                                                                 Admission::Watch* admitted) {
  if (!v1::Severity_IsValid(request.min_severity())) {
    return core::InvalidField("min_severity", absl::StrCat(request.min_severity(), " is not a severity"));
  }
  const uint64_t hash = HashOf({absl::StrCat("job=", request.job_id()), absl::StrCat("min=", request.min_severity())});
  GW_ASSIGN_OR_RETURN(const int64_t start, ReadStart(request, hash, *context));
  const EventFilter filter{.alerts_only = true, .job_id = request.job_id(), .min_severity = request.min_severity()};
  return std::shared_ptr<EventWatch>(new EventWatch(context, EventFeed(context->events, context->ledger, filter, start),
                                                    hash, nullptr, std::move(*admitted),
                                                    {std::string(Hub::kEventsTopic)}));
}

absl::StatusOr<std::shared_ptr<EventWatch>> EventWatch::OfJobs(const v1::WatchJobsRequest& request,
                                                               const EventWatchContext* context,
                                                               Admission::Watch* admitted) {
  const uint64_t hash = HashOf({"all jobs"});
  GW_ASSIGN_OR_RETURN(const int64_t start, ReadStart(request, hash, *context));
  std::vector<std::string> topics = {std::string(Hub::kEventsTopic)};
  if (!request.events_only()) topics.emplace_back(Hub::kFiguresTopic);
  return std::shared_ptr<EventWatch>(new EventWatch(context, EventFeed(context->events, context->ledger, {}, start),
                                                    hash, request.events_only() ? nullptr : context->figures,
                                                    std::move(*admitted), std::move(topics)));
}

EventWatch::EventWatch(const EventWatchContext* context, EventFeed feed, uint64_t filter_hash,
                       std::shared_ptr<FiguresBoard> board, Admission::Watch admitted, std::vector<std::string> topics)
    : WatchSession(context->hub, context->clock, std::move(admitted), std::move(topics)),
      context_(context),
      filter_hash_(filter_hash),
      board_(std::move(board)),
      feed_(std::move(feed)) {
  if (board_ != nullptr) board_->Join();
}

EventWatch::~EventWatch() {
  if (board_ != nullptr) board_->Leave();
}

WatchSession::Output EventWatch::Produce(Lane lane) {
  EncodedMessage message;
  bool behind = false, more = !started_;  // the first message comes at once, also without content
  if (started_) {
    auto part = feed_.Next(MessageBytes(lane), lane);
    if (!part.ok()) return {.message = std::nullopt, .end = part.status()};
    behind = part->behind;
    more = !part->events.empty() || !(part->complete || (behind && lane == Lane::kLive));
    message.parts = std::move(part->events);
  }
  if (board_ != nullptr) {
    for (SharedBytes& figures : board_->Changed(&seen_figures_)) message.parts.push_back(std::move(figures));
  }
  started_ = true;
  if (!more && message.parts.empty()) return {.message = std::nullopt, .end = std::nullopt, .behind = behind};
  message.parts.push_back(EncodeField(Response::kResumeTokenFieldNumber, Token()));
  return {.message = std::move(message), .end = std::nullopt, .behind = behind};
}

EncodedMessage EventWatch::MakeBookmark() {
  Response response;
  *response.mutable_bookmark_time() = core::ToTimestamp(Now());
  response.set_resume_token(Token());
  return EncodeMessage(response);
}

EncodedMessage EventWatch::MakeShutdown() {
  Response response;
  response.set_resume_token(Token());
  response.set_shutting_down(true);
  return EncodeMessage(response);
}

std::string EventWatch::Token() const {
  ResumeToken token;
  token.log_epoch = context_->log_epoch;
  token.position = feed_.position();
  token.filter_hash = filter_hash_;
  return token.Encode();
}

}  // namespace gradwatch::server
