// gRPC's server: what it says of itself, how connections reach it, and its end.
#include "server/rpc/grpc_server.h"

#include <atomic>
#include <thread>

#include "tests/server/rpc/rpc_fixture.h"

namespace gradwatch::server {
namespace {

using ::testing::StartsWith;

// grpc.health.v1.HealthCheckResponse: there is no code of it here.
constexpr char kServing[] = "\x08\x01";
constexpr char kNotServing[] = "\x08\x02";

class GrpcServerTest : public RpcTest {
 protected:
  using HealthReader = grpc::ClientReader<grpc::ByteBuffer>;

  std::unique_ptr<HealthReader> WatchHealth(grpc::ClientContext* call) {
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Watch", grpc::internal::RpcMethod::SERVER_STREAMING);
    const grpc::Slice everything("\x0a\x00", 2);  // the service "", which is the whole server
    return std::unique_ptr<HealthReader>(grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
        channel_.get(), method, call, grpc::ByteBuffer(&everything, 1)));
  }
  static std::string Next(HealthReader& reader) {
    grpc::ByteBuffer buffer;
    if (!reader.Read(&buffer)) return "the end";
    grpc::Slice slice;
    EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
    return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
  }
};

TEST_F(GrpcServerTest, WhoWatchesItsHealthHearsOfTheEnd) {
  const auto call = NewContext();
  const auto health = WatchHealth(call.get());
  EXPECT_EQ(Next(*health), kServing);
  std::thread end([this] { StopRpc(); });
  EXPECT_EQ(Next(*health), kNotServing);
  EXPECT_EQ(Next(*health), "the end");
  end.join();
}

TEST_F(GrpcServerTest, CallersAreNamedByTheirAddresses) {
  ASSERT_TRUE(Create("job").ok());
  v1::AdjustJobResponse adjusted;
  ASSERT_TRUE(job_stub_->AdjustJob(NewContext().get(), ScaleRequest("job", 0.5), &adjusted).ok());
  EXPECT_THAT(adjusted.adjustment().actor(), StartsWith("ipv4:127.0.0.1:"));
}

TEST_F(GrpcServerTest, NobodyIsLetInAfterItsEnd) {
  const std::string address = rpc_->listener().address();
  StopRpc();
  const auto stub = v1::JobService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::ServerInfo info;
  EXPECT_EQ(stub->GetServerInfo(NewContext().get(), {}, &info).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcServerTest, ConnectionsComeAndGoWhileItEnds) {
  const std::string address = rpc_->listener().address();
  std::atomic<bool> over = false;
  std::atomic<int> answered = 0;
  std::thread clients([&] {
    while (!over) {
      grpc::ChannelArguments own;
      own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
      const auto stub =
          v1::JobService::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own));
      v1::ServerInfo info;
      if (stub->GetServerInfo(NewContext().get(), {}, &info).ok()) ++answered;
    }
  });
  while (answered < 10) std::this_thread::yield();
  StopRpc();
  over = true;
  clients.join();
}

}  // namespace
}  // namespace gradwatch::server
