#include "server/rpc/grpc_server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

constexpr int kMaxReceiveBytes = 4 << 20;
constexpr int kMaxMetadataBytes = 16 << 10;

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 256);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // A second server must not share the port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  grpc::ResourceQuota quota;
  quota.Resize(size_t{512} << 20);
  builder.SetResourceQuota(quota);
}

// A few bytes of gzip can be gigabytes; the limit on messages would see only the few.
void RefuseCompression(grpc::ServerBuilder& builder) {
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
}

// A dead peer is noticed within about 30 seconds, also on a stream where nothing happens.
void KeepAlive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
}

RpcContext WithStreams(RpcContext context, StreamRegistry* streams) {
  context.streams = streams;
  return context;
}

}  // namespace

GrpcServer::GrpcServer(RpcContext context) : context_(WithStreams(std::move(context), &streams_)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::string& address, RpcContext context) {
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(context)));
  GW_RETURN_IF_ERROR(server->Listen(address));
  server->SetServing(true);
  return server;
}

GrpcServer::~GrpcServer() {
  if (server_ != nullptr) ShutDown(absl::Seconds(1));
}

absl::Status GrpcServer::Listen(const std::string& address) {
  // gRPC takes a port modulo 65536.
  const size_t colon = std::min(address.rfind(':'), address.size());
  int wanted_port = -1;
  const bool has_port =
      colon > 0 && colon < address.size() && absl::SimpleAtoi(address.substr(colon + 1), &wanted_port);
  const bool is_socket_file = absl::StartsWith(address, "unix:");
  if (!is_socket_file && (!has_port || wanted_port < 0 || wanted_port > 65535)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is not ADDRESS:PORT with a port from 0 to 65535"));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetLimits(builder);
  RefuseCompression(builder);
  KeepAlive(builder);
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&job_rpc_);
  builder.RegisterService(&watch_rpc_);
  builder.RegisterService(&alert_rpc_);
  builder.RegisterService(&trainer_rpc_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address, "; is something else there?"));
  }
  address_ = absl::StrCat(address.substr(0, colon), ":", port);
  return absl::OkStatus();
}

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  if (health == nullptr) return;
  health->SetServingStatus(serving);
  for (const char* service : {v1::JobService::service_full_name(), v1::WatchService::service_full_name(),
                              v1::AlertService::service_full_name(), v1::TrainerService::service_full_name()}) {
    health->SetServingStatus(service, serving);
  }
}

void GrpcServer::Tick() { streams_.Tick(context_.clock->Monotonic()); }

void GrpcServer::ShutDown(absl::Duration grace) {
  SetServing(false);
  context_.api->ShutDown(grace);
  streams_.ShutDown(grace);
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_.reset();
}

}  // namespace gradwatch::server
