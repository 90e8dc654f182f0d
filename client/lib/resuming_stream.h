// A stream that survives broken connections and restarts of the server: it comes back with the last resume token, so
// that its reader misses nothing and sees nothing twice.
#ifndef GRADWATCH_CLIENT_LIB_RESUMING_STREAM_H_
#define GRADWATCH_CLIENT_LIB_RESUMING_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/lib/backoff.h"
#include "client/lib/cancellation.h"
#include "client/lib/channel.h"
#include "client/lib/connection.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::client {

// What a message says about the end of its stream.
enum class StreamEnd { kNone, kFinal, kComeBack };

// What `response` says; an invitation to come back is taken out of it, since readers have nothing to do with it.
StreamEnd TakeEnd(v1::WatchJobResponse* response);
StreamEnd TakeEnd(v1::WatchAlertsResponse* response);

// A break of a stream, and when it will be opened again.
struct StreamBreak {
  absl::Status cause;    // OK if the server asked the client to come back
  absl::Duration delay;  // from now
};

struct ResumeOptions {
  // When the stream ends with DEADLINE_EXCEEDED.
  absl::Time deadline = absl::InfiniteFuture();
  // Bounds of the waits between attempts.
  absl::Duration initial_backoff = absl::Milliseconds(200);
  absl::Duration max_backoff = absl::Seconds(5);
  // How long in all may be waited since the last message, before the break is told as an error.
  absl::Duration patience = absl::Minutes(10);
  // Told about each break; may be null. Called on the reader's thread.
  std::function<void(const StreamBreak&)> on_break;
  // For tests. `wait` returns false if it was cut short by a cancellation; null: Connection::AwaitReconnection.
  std::function<bool(absl::Duration)> wait;
  std::function<double()> uniform;
};

// The rules of coming back, apart from any message type. Not thread-safe.
class ResumePolicy {
 public:
  // `connection` must outlive it.
  ResumePolicy(const Connection& connection, ResumeOptions options);

  // A message came.
  void OnMessage();
  // The stream ended with `status`. Waits and returns OK if it should be opened again, else the error. A server that
  // was never reached is an error at once.
  absl::Status OnBreak(const grpc::Status& status);

  absl::Time deadline() const { return options_.deadline; }
  Cancellation* cancellation() const { return connection_.cancellation(); }

 private:
  const Connection& connection_;
  const ResumeOptions options_;
  Backoff backoff_;
  absl::Duration waited_;  // since the last message
  bool had_message_ = false;
};

// Reads WatchJob or WatchAlerts on the caller's thread. Not thread-safe; Cancellation ends it from outside.
template <typename Request, typename Response>
class ResumingStream {
 public:
  using Open =
      std::function<std::unique_ptr<grpc::ClientReaderInterface<Response>>(grpc::ClientContext*, const Request&)>;

  ResumingStream(const Connection& connection, Open open, Request request, ResumeOptions options)
      : open_(std::move(open)), policy_(connection, std::move(options)), request_(std::move(request)) {}
  ~ResumingStream() { Close(); }
  ResumingStream(const ResumingStream&) = delete;
  ResumingStream& operator=(const ResumingStream&) = delete;

  // The next message; nothing after the last. CANCELLED after a cancellation, DEADLINE_EXCEEDED, UNAVAILABLE when the
  // server stays away, else the server's error. After an error or the end: the end. A stream that came back begins with
  // the server's first message again (WatchStarted).
  absl::StatusOr<std::optional<Response>> Next() {
    while (!ended_) {
      if (call_ == nullptr) call_ = std::make_unique<Call>(open_, request_, policy_);
      Response response;
      if (call_->reader->Read(&response)) return Take(std::move(response));
      const grpc::Status status = call_->reader->Finish();
      call_.reset();
      absl::Status verdict = policy_.OnBreak(status);
      if (!verdict.ok()) {
        ended_ = true;
        return verdict;
      }
    }
    return std::nullopt;
  }

  // Where to go on later; empty before the first message.
  const std::string& resume_token() const { return resume_token_; }

 private:
  struct Call {
    Call(const Open& open, const Request& request, const ResumePolicy& policy)
        : registration(policy.cancellation(), &context) {
      if (policy.deadline() < absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(policy.deadline()));
      reader = open(&context, request);
    }
    grpc::ClientContext context;
    Cancellation::Registration registration;
    std::unique_ptr<grpc::ClientReaderInterface<Response>> reader;
  };

  std::optional<Response> Take(Response response) {
    policy_.OnMessage();
    resume_token_ = response.resume_token();
    if (!resume_token_.empty()) request_.set_resume_token(resume_token_);
    if (TakeEnd(&response) == StreamEnd::kFinal) {
      ended_ = true;
      Close();
    }
    return response;
  }

  void Close() {
    if (call_ == nullptr) return;
    call_->context.TryCancel();
    // gRPC wants all messages read before the status is asked for.
    for (Response unread; call_->reader->Read(&unread);) {
    }
    call_->reader->Finish();
    call_.reset();
  }

  const Open open_;
  ResumePolicy policy_;
  Request request_;
  std::string resume_token_;
  std::unique_ptr<Call> call_;
  bool ended_ = false;
};

using JobStream = ResumingStream<v1::WatchJobRequest, v1::WatchJobResponse>;
using AlertStream = ResumingStream<v1::WatchAlertsRequest, v1::WatchAlertsResponse>;

// `connection` must outlive the stream.
std::unique_ptr<JobStream> WatchJob(const Connection& connection, v1::WatchJobRequest request, ResumeOptions options);
std::unique_ptr<AlertStream> WatchAlerts(const Connection& connection, v1::WatchAlertsRequest request,
                                         ResumeOptions options);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_RESUMING_STREAM_H_
