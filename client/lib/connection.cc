#include "client/lib/connection.h"

#include <google/protobuf/empty.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/rpc_method.h>

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "client/lib/backoff.h"
#include "client/lib/channel.h"
#include "client/lib/grpc_status.h"

namespace gradwatch::client {
namespace {

constexpr int kMaxAttempts = 4;
constexpr uint64_t kServing = 1;  // grpc.health.v1.HealthCheckResponse.SERVING

// Marks an error after an attempt whose answer may be lost.
constexpr char kReached[] = "gradwatch/reached";

// For a server that was there a moment ago.
constexpr absl::Duration kReconnectTime = absl::Seconds(2);

// A server that was never reached is not there. One that was, and is not any more, may be on its way back.
bool IsWorthRepeating(const grpc::Status& status, bool was_reached) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE && (was_reached || !IsConnectFailure(status));
}

// Whether the server may have got, and done, what was asked for: also if it said itself that it goes down, with the
// call under way. Any other reason is an answer: nothing was done.
bool MayHaveReached(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE || IsConnectFailure(status)) return false;
  const std::string reason = GetReason(ToAbslStatus(status));
  return reason.empty() || reason == "SHUTTING_DOWN";
}

// Field 1 of the message; 0 if unset.
uint64_t FirstField(const google::protobuf::Empty& message) {
  const google::protobuf::UnknownFieldSet& fields = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < fields.field_count(); ++i) {
    if (fields.field(i).number() == 1) return fields.field(i).varint();
  }
  return 0;
}

}  // namespace

bool MayBeDone(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) || status.GetPayload(kReached).has_value();
}

Connection::Connection(std::string address, Options options)
    : address_(std::move(address)),
      options_(options),
      channel_(MakeChannel(address_)),
      jobs_(v1::JobService::NewStub(channel_)),
      watches_(v1::WatchService::NewStub(channel_)),
      alerts_(v1::AlertService::NewStub(channel_)) {}

absl::Status Connection::CallRepeatedly(const Attempt& attempt, Repeat repeat, absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  Backoff backoff(absl::Milliseconds(100), absl::Seconds(2));
  bool reached = false;
  for (int tries = 1;; ++tries) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    grpc::Status status;
    {
      Cancellation::Registration registration(options_.cancellation, &context);
      status = attempt(&context);
    }
    if (!CancellationOrNever().cancelled()) status = NotCancelledHere(status);
    reached = reached || MayHaveReached(status);
    const bool may_repeat = repeat == Repeat::kWhenUnavailable && tries < kMaxAttempts;
    if (!may_repeat || !IsWorthRepeating(status, /*was_reached=*/tries > 1)) return Describe(status, reached);
    const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    const bool goes_on = IsConnectFailure(status) ? AwaitReconnection(std::min(kReconnectTime, left))
                                                  : CancellationOrNever().Wait(backoff.Next());
    if (!goes_on) return absl::CancelledError("interrupted");
  }
}

absl::Status Connection::Describe(const grpc::Status& status, bool reached) const {
  absl::Status described = DescribeStatus(status, address_);
  // Other errors are answers to the same request: it was not done. But who is turned away is not looked at.
  const bool is_answer = !absl::IsUnavailable(described) && !absl::IsResourceExhausted(described);
  if (reached && !is_answer) described.SetPayload(kReached, absl::Cord());
  return described;
}

absl::Status Connection::OfChange(absl::Status status) {
  if (!MayBeDone(status)) return status;
  const absl::string_view what = absl::IsCancelled(status) ? "interrupted" : status.message();
  absl::Status told(status.code(), absl::StrCat(what, kMayBeDone));
  status.ForEachPayload([&told](absl::string_view type, const absl::Cord& payload) { told.SetPayload(type, payload); });
  return told;
}

const Cancellation& Connection::CancellationOrNever() const {
  static const Cancellation never;
  return options_.cancellation != nullptr ? *options_.cancellation : never;
}

bool Connection::AwaitReconnection(absl::Duration longest) const {
  constexpr absl::Duration kSlice = absl::Milliseconds(100);  // in which a cancellation is heard
  const Cancellation& cancellation = CancellationOrNever();
  if (channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY) return cancellation.Wait(longest);
  const absl::Time end = absl::Now() + longest;
  for (absl::Time now = absl::Now(); now < end; now = absl::Now()) {
    if (cancellation.cancelled()) return false;
    if (channel_->WaitForConnected(absl::ToChronoTime(std::min(now + kSlice, end)))) return true;
  }
  return !cancellation.cancelled();
}

absl::Status Connection::CheckHealth() const {
  // Debian ships no C++ code for grpc.health.v1. An empty message is the right request for "the whole server", and the
  // answer's only field, status, is found among the unknown fields of an empty message.
  google::protobuf::Empty request;
  google::protobuf::Empty response;
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check", grpc::internal::RpcMethod::NORMAL_RPC,
                                         channel_);
  absl::Status status = CallRepeatedly(
      [&](grpc::ClientContext* context) {
        return grpc::internal::BlockingUnaryCall(channel_.get(), method, context, request, &response);
      },
      Repeat::kWhenUnavailable, options_.timeout);
  if (!status.ok()) return status;
  if (FirstField(response) == kServing) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server at ", address_, " does not serve now"));
}

}  // namespace gradwatch::client
