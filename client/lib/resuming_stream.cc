#include "client/lib/resuming_stream.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace gradwatch::client {
namespace {

// A server that has never said anything is waited for less long.
constexpr absl::Duration kFirstPatience = absl::Seconds(5);

}  // namespace

StreamEnd TakeEnd(v1::WatchJobResponse* response) {
  if (!response->has_ended()) return StreamEnd::kNone;
  switch (response->ended().reason()) {
    case v1::WatchEnded::REASON_ROTATE:
    case v1::WatchEnded::REASON_SHUTDOWN:
      response->clear_ended();
      return StreamEnd::kComeBack;
    default:
      return StreamEnd::kFinal;
  }
}

StreamEnd TakeEnd(v1::WatchAlertsResponse* response) {
  if (!response->shutting_down()) return StreamEnd::kNone;
  response->set_shutting_down(false);
  return StreamEnd::kComeBack;
}

ResumePolicy::ResumePolicy(const Connection& connection, ResumeOptions options)
    : connection_(connection),
      options_(std::move(options)),
      backoff_(options_.initial_backoff, options_.max_backoff, options_.uniform) {}

void ResumePolicy::OnMessage() {
  had_message_ = true;
  waited_ = absl::ZeroDuration();
  backoff_.Reset();
}

absl::Status ResumePolicy::OnBreak(const grpc::Status& status) {
  if (cancellation() != nullptr && cancellation()->cancelled()) return absl::CancelledError("interrupted");
  const absl::Status cause = DescribeStatus(NotCancelledHere(status), connection_.address());
  // A stream that ends with OK but not with a last message was rotated.
  if (!status.ok() && !IsBrokenStream(status)) return cause;
  if (!had_message_ && IsConnectFailure(status)) return cause;
  const absl::Duration patience = had_message_ ? options_.patience : std::min(options_.patience, kFirstPatience);
  if (waited_ >= patience) return status.ok() ? absl::UnavailableError("the server ends every stream") : cause;
  const absl::Duration left = std::max(options_.deadline - absl::Now(), absl::ZeroDuration());
  const absl::Duration delay = std::min(backoff_.Next(), left);  // the next attempt tells of the deadline
  waited_ += delay;
  if (options_.on_break) options_.on_break({cause, delay});
  const bool waited = options_.wait ? options_.wait(delay) : connection_.AwaitReconnection(delay);
  return waited ? absl::OkStatus() : absl::CancelledError("interrupted");
}

std::unique_ptr<JobStream> WatchJob(const Connection& connection, v1::WatchJobRequest request, ResumeOptions options) {
  return std::make_unique<JobStream>(
      connection,
      [&connection](grpc::ClientContext* context, const v1::WatchJobRequest& request) {
        return connection.watches().WatchJob(context, request);
      },
      std::move(request), std::move(options));
}

std::unique_ptr<AlertStream> WatchAlerts(const Connection& connection, v1::WatchAlertsRequest request,
                                         ResumeOptions options) {
  return std::make_unique<AlertStream>(
      connection,
      [&connection](grpc::ClientContext* context, const v1::WatchAlertsRequest& request) {
        return connection.alerts().WatchAlerts(context, request);
      },
      std::move(request), std::move(options));
}

}  // namespace gradwatch::client
