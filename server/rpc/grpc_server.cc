#include "server/rpc/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"

namespace gradwatch::server {
namespace {

constexpr int kMaxReceiveBytes = 4 << 20;
constexpr int kMaxMetadataBytes = 16 << 10;

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 256);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
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

// The library stays until the process ends: its own end would wait for a thread of its that polls for up to ten seconds
// where a peer has not read what was written.
void KeepLibrary() {
  [[maybe_unused]] static const bool kept = [] {
    grpc_init();
    return true;
  }();
}

}  // namespace

GrpcServer::GrpcServer(std::unique_ptr<Listener> listener, RpcContext context)
    : context_(WithStreams(std::move(context), &streams_)), listener_(std::move(listener)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(std::unique_ptr<Listener> listener, RpcContext context,
                                                              int connections) {
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(listener), std::move(context)));
  GW_RETURN_IF_ERROR(server->Serve());
  server->SetServing(true);
  GW_RETURN_IF_ERROR(server->Accept(connections));
  return server;
}

GrpcServer::~GrpcServer() {
  if (server_ != nullptr) ShutDown(absl::Seconds(1));
}

absl::Status GrpcServer::Serve() {
  KeepLibrary();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetLimits(builder);
  RefuseCompression(builder);
  KeepAlive(builder);
  connections_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  builder.RegisterService(&job_rpc_);
  builder.RegisterService(&watch_rpc_);
  builder.RegisterService(&alert_rpc_);
  builder.RegisterService(&trainer_rpc_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::UnavailableError("gRPC's server cannot be started");
  return absl::OkStatus();
}

absl::Status GrpcServer::Accept(int connections) {
  const auto take = [this](int listener, int connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = listener;
    parameters.fd = connection;
    connections_->HandleNewConnection(&parameters);
  };
  GW_ASSIGN_OR_RETURN(acceptor_, Acceptor::Start(listener_->sockets(), connections, take));
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
  const absl::Time begin = absl::Now();
  SetServing(false);
  if (acceptor_ != nullptr) acceptor_->Stop();  // gRPC would not close what it is handed later
  listener_->Close();
  // Each of these returns as soon as it can; only those who do not read, and calls that hang, take the whole time.
  absl::Notification over;
  std::thread cutter([&] {
    core::NameThisThread("cutter");
    if (!over.WaitForNotificationWithDeadline(begin + grace / 2) && acceptor_ != nullptr) acceptor_->Cut();
  });
  context_.api->ShutDown(grace / 5);
  streams_.ShutDown(grace / 5);
  server_->Shutdown(absl::ToChronoTime(begin + grace));
  over.Notify();
  cutter.join();
  server_.reset();
}

}  // namespace gradwatch::server
