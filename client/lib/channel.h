// Channels to a gradwatch server, and what a failed connection means in words.
#ifndef GRADWATCH_CLIENT_LIB_CHANNEL_H_
#define GRADWATCH_CLIENT_LIB_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace gradwatch::client {

inline constexpr char kDefaultServer[] = "127.0.0.1:7700";

// A channel to "host:port" or "unix:path". It connects with the first call and again by itself, after 0.2 to 2 s; a
// server that does not answer is given up after 2 s, a silent connection after 40 s. Never through a proxy.
// The traffic is not encrypted.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// Whether a call failed because no connection could be made: the server has not seen it.
bool IsConnectFailure(const grpc::Status& status);

// Whether a stream broke on the way (or was cancelled by the server) and may be opened again.
bool IsBrokenStream(const grpc::Status& status);

// The status of a call that nobody here has cancelled, as it is meant: a server that goes down gives calls up before it
// has looked at them, which gRPC tells as CANCELLED.
grpc::Status NotCancelledHere(const grpc::Status& status);

// As ToAbslStatus, but what gRPC itself says is told in plain words: UNAVAILABLE "no server at 127.0.0.1:7700
// (connection refused)", DEADLINE_EXCEEDED "time is up".
absl::Status DescribeStatus(const grpc::Status& status, const std::string& address);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_CHANNEL_H_
