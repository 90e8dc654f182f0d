// One server as seen by a client: its services, and calls with a deadline that are repeated where that is safe.
#ifndef GRADWATCH_CLIENT_LIB_CONNECTION_H_
#define GRADWATCH_CLIENT_LIB_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/lib/cancellation.h"
#include "gradwatch/v1/alert_service.grpc.pb.h"
#include "gradwatch/v1/job_service.grpc.pb.h"
#include "gradwatch/v1/watch_service.grpc.pb.h"

namespace gradwatch::client {

// Whether a call may be sent again when it fails with UNAVAILABLE. Only reads, and requests with a request_id, may:
// else the server could do twice what was asked once.
enum class Repeat { kNever, kWhenUnavailable };

// Whether a call that failed so may have done what it asked for: nobody waited for its answer any more, or the answer
// may be lost with the connection, or with the server.
bool MayBeDone(const absl::Status& status);
// What the error of a change ends with that MayBeDone.
inline constexpr absl::string_view kMayBeDone = "; what was asked for may have been done all the same";

// Thread-safe.
class Connection {
 public:
  struct Options {
    // For a call with its repetitions, if it has none of its own.
    absl::Duration timeout = absl::Seconds(10);
    // Ends calls from outside; may be null, else it must outlive this object.
    Cancellation* cancellation = nullptr;
  };
  // `address` as for MakeChannel. Connects with the first call.
  Connection(std::string address, Options options);

  const std::string& address() const { return address_; }
  Cancellation* cancellation() const { return options_.cancellation; }
  v1::JobService::StubInterface& jobs() const { return *jobs_; }
  v1::WatchService::StubInterface& watches() const { return *watches_; }
  v1::AlertService::StubInterface& alerts() const { return *alerts_; }

  // Makes a unary call, for example Call(c.jobs(), &v1::JobService::StubInterface::GetJob, request, ...), with
  // `timeout` in place of that of the options. A server that is not there is UNAVAILABLE within about 2 s, without
  // repetition; one that was there when the call began is waited for some seconds, since the answer may be lost with
  // it. Where a change MayBeDone though it failed, the error says so.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, Repeat repeat,
                                std::optional<absl::Duration> timeout = std::nullopt) const {
    // Requests that change something carry an id; what has none must not be repeated.
    const bool is_change = repeat == Repeat::kNever || requires { request.request_id(); };
    Response response;
    absl::Status status =
        CallRepeatedly([&](grpc::ClientContext* context) { return (stub.*method)(context, request, &response); },
                       repeat, timeout.value_or(options_.timeout));
    if (!status.ok()) return is_change ? OfChange(std::move(status)) : status;
    return response;
  }

  // Waits for up to `longest`; false if that was cut short by the cancellation. Where there is no connection tries to
  // get one meanwhile, and ends as soon as it is there: gRPC looks after connections while somebody waits for them,
  // else every five seconds.
  bool AwaitReconnection(absl::Duration longest) const;

  // Asks the server's health service: OK, or UNAVAILABLE if it is there but does not serve.
  absl::Status CheckHealth() const;

 private:
  using Attempt = std::function<grpc::Status(grpc::ClientContext*)>;
  absl::Status CallRepeatedly(const Attempt& attempt, Repeat repeat, absl::Duration timeout) const;
  // The error of a call; `reached`: an attempt at it may have reached the server, though the answer was UNAVAILABLE.
  absl::Status Describe(const grpc::Status& status, bool reached) const;
  // The error of a call that asked for a change.
  static absl::Status OfChange(absl::Status status);
  const Cancellation& CancellationOrNever() const;

  const std::string address_;
  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::JobService::StubInterface> jobs_;
  const std::unique_ptr<v1::WatchService::StubInterface> watches_;
  const std::unique_ptr<v1::AlertService::StubInterface> alerts_;
};

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_CONNECTION_H_
