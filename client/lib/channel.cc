#include "client/lib/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/lib/grpc_status.h"

namespace gradwatch::client {
namespace {

// The errors of a connection attempt, by words in gRPC's message.
struct ConnectError {
  const char* text;
  const char* meaning;
};
constexpr ConnectError kConnectErrors[] = {
    {"Connection refused", "connection refused"},
    {"No such file or directory", "no such socket"},
    {"DNS resolution failed", "host not found"},
    {"Domain name not found", "host not found"},
    {"No route to host", "no route to host"},
    {"Network is unreachable", "network unreachable"},
    {"Connection timed out", "no answer"},
    {"connection attempt timed out", "no answer"},
    {"Timeout occurred", "no answer"},
    {"handshaker shutdown", "no answer"},
    {"Deadline exceeded", "no answer"},
    {"Connection reset by peer", "connection reset"},
    {"Socket closed", "connection closed"},
    {"Permission denied", "permission denied"},
};

std::string MeaningOf(const std::string& message) {
  for (const ConnectError& error : kConnectErrors) {
    if (absl::StrContains(message, error.text)) return error.meaning;
  }
  return message;
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // quiet streams are watched over, too
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);  // in truth the time that one attempt may take
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

bool IsConnectFailure(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return false;
  const std::string message = status.error_message();
  return absl::StrContains(message, "failed to connect to all addresses") ||
         absl::StrContains(message, "connections to all backends failing") ||
         absl::StrContains(message, "DNS resolution failed") || absl::StrContains(message, "Domain name not found");
}

bool IsBrokenStream(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:  // the server cuts readers that stall
      return true;
    case grpc::StatusCode::UNKNOWN:
      return absl::StrContains(status.error_message(), "Stream removed");
    case grpc::StatusCode::INTERNAL:
      return absl::StrContains(status.error_message(), "RST_STREAM");
    default:
      return false;
  }
}

grpc::Status NotCancelledHere(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::CANCELLED) return status;
  return {grpc::StatusCode::UNAVAILABLE, "the server gave the call up"};
}

absl::Status DescribeStatus(const grpc::Status& status, const std::string& address) {
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return absl::DeadlineExceededError("time is up");
  if (!IsConnectFailure(status)) return ToAbslStatus(status);
  return absl::UnavailableError(absl::StrCat("no server at ", address, " (", MeaningOf(status.error_message()), ")"));
}

}  // namespace gradwatch::client
