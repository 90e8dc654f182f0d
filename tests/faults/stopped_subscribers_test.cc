// Subscribers that stop reading slow nobody: not the job, not who reads, not the end of the server.
#include "tests/faults/fault_fixture.h"

namespace gradwatch::testing {
namespace {

class SlowStoppedSubscribersTest : public FaultTest {
 protected:
  // A stream that is opened and never read: what the server sends fills the windows, then it has to wait.
  struct Stopped {
    std::unique_ptr<grpc::ClientContext> context = Outside::Context(2 * kLongWait);
    std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader;
  };
  std::vector<Stopped> StopSubscribers(const Outside& outside, const std::string& job_id, int count) {
    std::vector<Stopped> stopped(count);
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    for (Stopped& subscriber : stopped)
      subscriber.reader = outside.watches->WatchJob(subscriber.context.get(), request);
    return stopped;
  }
};

TEST_F(SlowStoppedSubscribersTest, DoNotHoldUpTheEndOfTheServer) {
  ASSERT_NO_FATAL_FAILURE(StartServer());
  Create("job", Spec(kForEver, 64));
  Outside stopping(server_->address());
  std::vector<Stopped> stopped = StopSubscribers(stopping, "job", 40);
  // Far more than what fits into the windows of streams that nobody reads.
  ASSERT_TRUE(outside_->AwaitStep("job", 10'000));
  EXPECT_GE(outside_->AwaitLiveStep("job"), 10'000) << "who reads is served";

  const absl::Time begin = absl::Now();
  // It takes half a second; the fault took 8 s here, and half a minute at worst.
  EXPECT_EQ(server_->Terminate(absl::Seconds(15)), 0) << server_->Errors();
  std::cout << "SIGTERM took " << absl::Now() - begin << std::endl;
  for (Stopped& subscriber : stopped) {
    bool told = false;
    for (v1::WatchJobResponse response; subscriber.reader->Read(&response);) {
      told = response.ended().reason() == v1::WatchEnded::REASON_SHUTDOWN;
    }
    const grpc::Status status = subscriber.reader->Finish();
    EXPECT_TRUE(told || status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                status.error_code() == grpc::StatusCode::CANCELLED)
        << status.error_code() << " " << status.error_message() << ": a client would not come back";
  }
  ASSERT_NO_FATAL_FAILURE(RestartServer());
  EXPECT_GE(outside_->AwaitLiveStep("job"), 10'000) << "the trainer went on and is back";
}

}  // namespace
}  // namespace gradwatch::testing
