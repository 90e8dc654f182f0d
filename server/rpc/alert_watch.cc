#include "server/rpc/alert_watch.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/grpc_status.h"
#include "server/rpc/byte_buffers.h"
#include "server/stream/resume_token.h"
#include "server/stream/watch_filter.h"

namespace gradwatch::server {
namespace {

constexpr int kEventsAtOnce = 100;

// The filters in the form whose hash tokens carry.
uint64_t FilterHash(const v1::WatchAlertsRequest& request) {
  return WatchFilter{.events_only = true,
                     .every_steps = 1,
                     .tensors = {absl::StrCat("job=", request.job_id()), absl::StrCat("min=", request.min_severity())}}
      .Hash();
}

absl::StatusOr<int64_t> ReadToken(const RpcContext& context, const v1::WatchAlertsRequest& request) {
  GW_ASSIGN_OR_RETURN(const ResumeToken token, ResumeToken::Decode(request.resume_token()));
  if (!token.uid.empty() || token.filter_hash != FilterHash(request)) {
    return core::WithReason(absl::InvalidArgumentError("resume_token: it belongs to another stream, or one with other "
                                                       "filters"),
                            "RESUME_TOKEN_MISMATCH");
  }
  GW_ASSIGN_OR_RETURN(const int64_t last, context.reader->LastPosition());
  if (token.log_epoch != context.info.log_epoch() || token.position > last) {
    return core::WithReason(absl::OutOfRangeError("resume_token: it belongs to another data folder"),
                            "HISTORY_REWOUND");
  }
  return token.position;
}

absl::StatusOr<int64_t> ReadStart(const RpcContext& context, const v1::WatchAlertsRequest& request) {
  if (!v1::Severity_IsValid(request.min_severity())) {
    return core::InvalidField("min_severity", absl::StrCat(request.min_severity(), " is not a severity"));
  }
  if (request.has_resume_token()) return ReadToken(context, request);
  if (request.from_beginning()) return 0;
  return context.reader->LastPosition();
}

}  // namespace

AlertWatch::AlertWatch(const RpcContext* context, v1::WatchAlertsRequest request)
    : WriteStream(context, std::string(Hub::kAlertsTopic)), request_(std::move(request)) {}

WriteStream::Output AlertWatch::Produce() {
  if (!started_) {
    const auto start = ReadStart(context(), request_);
    if (!start.ok()) return {.message = std::nullopt, .end = ToGrpcStatus(start.status())};
    position_ = *start;
  }
  v1::WatchAlertsResponse response;
  bool more = started_;
  while (more && response.events().empty()) {
    auto events = context().reader->ReadAlertEvents(request_.job_id(), position_, kEventsAtOnce);
    if (!events.ok()) return {.message = std::nullopt, .end = ToGrpcStatus(events.status())};
    for (auto& stored : *events) {
      position_ = stored.position;
      if (stored.event.alert_changed().alert().severity() < request_.min_severity()) continue;
      *response.add_events() = std::move(stored.event);
    }
    more = static_cast<int>(events->size()) == kEventsAtOnce;
  }
  if (started_ && response.events().empty()) return {};
  started_ = true;
  response.set_resume_token(Token());
  return {.message = Serialize(response), .end = std::nullopt};
}

grpc::ByteBuffer AlertWatch::ProduceBookmark() {
  v1::WatchAlertsResponse response;
  response.set_resume_token(Token());
  return Serialize(response);
}

WriteStream::Output AlertWatch::ProduceShutdown() {
  v1::WatchAlertsResponse response;
  response.set_resume_token(Token());
  response.set_shutting_down(true);
  const absl::Status status = core::WithReason(absl::UnavailableError("the server is shutting down"), "SHUTTING_DOWN");
  return {.message = Serialize(response), .end = ToGrpcStatus(status)};
}

std::string AlertWatch::Token() const {
  ResumeToken token;
  token.log_epoch = context().info.log_epoch();
  token.position = position_;
  token.filter_hash = FilterHash(request_);
  return token.Encode();
}

}  // namespace gradwatch::server
