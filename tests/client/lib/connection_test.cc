#include "client/lib/connection.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/lib/grpc_status.h"
#include "tests/support/fake_server.h"
#include "tests/support/long_wait.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::client {
namespace {

using ::gradwatch::testing::FakeServer;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

absl::StatusOr<v1::Job> GetJob(const Connection& connection, Repeat repeat) {
  v1::GetJobRequest request;
  request.set_job_id("x");
  return connection.Call(connection.jobs(), &v1::JobService::StubInterface::GetJob, request, repeat);
}

TEST(ConnectionTest, MakesACall) {
  FakeServer server;
  server.get_job = [](const v1::GetJobRequest& request, v1::Job* job) {
    job->set_job_id(request.job_id());
    return grpc::Status::OK;
  };
  const Connection connection(server.address(), {});
  const auto job = GetJob(connection, Repeat::kWhenUnavailable);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->job_id(), "x");
}

TEST(ConnectionTest, TellsAMissingServerBeforeTheTimeIsUp) {
  std::string address;
  {
    FakeServer server;
    address = server.address();
  }
  const Connection connection(address, {.timeout = absl::Minutes(4)});
  EXPECT_THAT(GetJob(connection, Repeat::kWhenUnavailable),
              StatusIs(absl::StatusCode::kUnavailable, "no server at " + address + " (connection refused)"));
}

TEST(ConnectionTest, TellsAMissingSocket) {
  const Connection connection("unix:/nonexistent/gradwatch.socket", {});
  EXPECT_THAT(GetJob(connection, Repeat::kNever),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no such socket")));
}

class RepeatTest : public ::testing::Test {
 protected:
  RepeatTest() {
    server_.get_job = [this](const v1::GetJobRequest&, v1::Job*) {
      return ++calls_ <= failures_ ? RichStatus(grpc::StatusCode::UNAVAILABLE, "starting", Reason("STARTING"))
                                   : grpc::Status::OK;
    };
  }
  std::atomic<int> calls_ = 0;
  int failures_ = 0;
  FakeServer server_;
  const Connection connection_{server_.address(), {}};
};

TEST_F(RepeatTest, RepeatsReadsWhileTheServerStarts) {
  failures_ = 2;
  EXPECT_THAT(GetJob(connection_, Repeat::kWhenUnavailable), IsOk());
  EXPECT_EQ(calls_, 3);
}

TEST_F(RepeatTest, GivesUpAfterFourAttempts) {
  failures_ = 100;
  const auto job = GetJob(connection_, Repeat::kWhenUnavailable);
  EXPECT_THAT(job, StatusIs(absl::StatusCode::kUnavailable, "starting"));
  EXPECT_EQ(GetReason(job.status()), "STARTING");
  EXPECT_EQ(calls_, 4);
}

TEST_F(RepeatTest, NeverRepeatsWhatCouldBeDoneTwice) {
  failures_ = 1;
  EXPECT_THAT(GetJob(connection_, Repeat::kNever), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_EQ(calls_, 1);
}

// A socket that listens at 127.0.0.1 and has no server behind it.
class EmptySocket {
 public:
  EmptySocket() : descriptor_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  }
  ~EmptySocket() { close(descriptor_); }
  EmptySocket(const EmptySocket&) = delete;
  EmptySocket& operator=(const EmptySocket&) = delete;

  // Whether somebody listens there.
  bool Connect(int port) { return connect(descriptor_, At(port), sizeof address_) == 0; }
  // Listens, and breaks the first connection that comes.
  void Disappoint(int port) {
    while (bind(descriptor_, At(port), sizeof address_) != 0) std::this_thread::yield();
    EXPECT_EQ(listen(descriptor_, 1), 0);
    pollfd waiting = {descriptor_, POLLIN, 0};
    const bool came = poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(testing::kLongWait))) == 1;
    EXPECT_TRUE(came) << "nobody came";
    if (came) close(accept(descriptor_, nullptr, nullptr));
  }

 private:
  const sockaddr* At(int port) {
    address_.sin_family = AF_INET;
    address_.sin_port = htons(static_cast<uint16_t>(port));
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return reinterpret_cast<const sockaddr*>(&address_);
  }

  const int descriptor_;
  sockaddr_in address_{};
};

// The answer may be lost with the server: it is asked for again when it is back.
TEST_F(RepeatTest, AsksAgainWhereTheServerWasAwayInBetween) {
  std::thread restart;
  server_.get_job = [&](const v1::GetJobRequest&, v1::Job*) {
    if (++calls_ > 1) return grpc::Status::OK;
    restart = std::thread([this] {
      server_.Stop();
      EmptySocket().Disappoint(server_.port());  // somebody asks while it is away
      server_.Restart();
    });
    // Whoever hears of the end asks nobody who is still there.
    while (EmptySocket().Connect(server_.port())) std::this_thread::yield();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  };
  EXPECT_THAT(GetJob(connection_, Repeat::kWhenUnavailable), IsOk());
  EXPECT_EQ(calls_, 2);
  restart.join();
}

// A service that fails as the network does, attempt by attempt; the last failure stays.
struct FailingStub {
  std::vector<grpc::Status> failures;
  size_t calls = 0;
  template <typename Request, typename Response>
  grpc::Status Call(grpc::ClientContext*, const Request&, Response*) {
    return failures[std::min(calls++, failures.size() - 1)];
  }
};
const grpc::Status kLost(grpc::StatusCode::UNAVAILABLE, "Socket closed");
const grpc::Status kNoServer(grpc::StatusCode::UNAVAILABLE,
                             "failed to connect to all addresses; last error: UNKNOWN: Connection refused");
constexpr char kMayHaveBeenDone[] = "; what was asked for may have been done all the same";

// The server may have done it, and be gone: that there is no server any more is not all that is to be said.
TEST(ConnectionTest, AChangeWhoseAnswerWasLostMayHaveBeenDone) {
  const grpc::Status overloaded =
      RichStatus(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls", Reason("OVERLOADED"));
  const grpc::Status conflict(grpc::StatusCode::ABORTED, "the etag is e9");
  const std::string no_server = "no server at 127.0.0.1:1 (connection refused)";
  const struct {
    std::vector<grpc::Status> failures;
    std::string message;
    bool may_be_done;
  } cases[] = {
      {{kNoServer}, no_server, false},
      {{kLost, kLost, kLost, kNoServer}, no_server, true},
      {{kLost}, "Socket closed", true},
      {{kLost, overloaded}, "too many calls", true},
      {{overloaded}, "too many calls", false},
      {{kLost, conflict}, "the etag is e9", false},  // it was looked at, under the same id
  };
  const Connection connection("127.0.0.1:1", {});
  for (const auto& c : cases) {
    FailingStub stub = {.failures = c.failures};
    const auto response = connection.Call(stub, &FailingStub::Call<v1::AdjustJobRequest, v1::AdjustJobResponse>,
                                          v1::AdjustJobRequest(), Repeat::kWhenUnavailable);
    EXPECT_EQ(response.status().message(), c.message + (c.may_be_done ? kMayHaveBeenDone : ""));
    EXPECT_EQ(MayBeDone(response.status()), c.may_be_done) << response.status();
    EXPECT_EQ(GetReason(response.status()).empty(), c.message != "too many calls");
  }
}

TEST(ConnectionTest, AServerThatSaysWhyHasNotDoneIt) {
  const Connection connection("127.0.0.1:1", {});
  for (const bool goes_down : {false, true}) {
    const char* const reason = goes_down ? "SHUTTING_DOWN" : "BACKEND_DOWN";
    FailingStub stub = {.failures = {RichStatus(grpc::StatusCode::UNAVAILABLE, "no", Reason(reason))}};
    const auto response = connection.Call(stub, &FailingStub::Call<v1::AdjustJobRequest, v1::AdjustJobResponse>,
                                          v1::AdjustJobRequest(), Repeat::kWhenUnavailable);
    EXPECT_EQ(MayBeDone(response.status()), goes_down) << response.status();
  }
}

// As of a server that goes down with calls that it has not looked at.
TEST(ConnectionTest, ACallThatTheServerGivesUpIsMadeAgain) {
  FakeServer server;
  int calls = 0;
  server.get_job = [&calls](const v1::GetJobRequest&, v1::Job*) {
    return ++calls < 3 ? grpc::Status(grpc::StatusCode::CANCELLED, "") : grpc::Status::OK;
  };
  const Connection connection(server.address(), {});
  EXPECT_THAT(GetJob(connection, Repeat::kWhenUnavailable), IsOk());
  EXPECT_EQ(calls, 3);
  calls = 0;
  EXPECT_THAT(GetJob(connection, Repeat::kNever),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the server gave the call up")))
      << "nobody has interrupted it";
}

TEST(ConnectionTest, AReadIsNotSaidToHaveBeenDone) {
  const Connection connection("127.0.0.1:1", {});
  FailingStub stub = {.failures = {kLost}};
  EXPECT_THAT(connection.Call(stub, &FailingStub::Call<v1::GetJobRequest, v1::Job>, v1::GetJobRequest(),
                              Repeat::kWhenUnavailable),
              StatusIs(absl::StatusCode::kUnavailable, "Socket closed"));
  EXPECT_EQ(stub.calls, 4u);
}

TEST(ConnectionTest, EndsWithItsTimeout) {
  absl::Notification done;
  FakeServer server;
  server.get_job = [&done](const v1::GetJobRequest&, v1::Job*) {
    done.WaitForNotification();
    return grpc::Status::OK;
  };
  const Connection connection(server.address(), {.timeout = absl::Milliseconds(50)});
  EXPECT_THAT(GetJob(connection, Repeat::kWhenUnavailable), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  done.Notify();
}

TEST(ConnectionTest, EndsWhenCancelledFromAnotherThread) {
  absl::Notification arrived, done;
  FakeServer server;
  server.get_job = [&](const v1::GetJobRequest&, v1::Job*) {
    arrived.Notify();
    done.WaitForNotification();
    return grpc::Status::OK;
  };
  Cancellation cancellation;
  const Connection connection(server.address(), {.timeout = absl::Minutes(5), .cancellation = &cancellation});
  std::thread canceller([&] {
    arrived.WaitForNotification();
    cancellation.Cancel();
  });
  EXPECT_THAT(GetJob(connection, Repeat::kWhenUnavailable), StatusIs(absl::StatusCode::kCancelled, _));
  canceller.join();
  done.Notify();
  EXPECT_THAT(GetJob(connection, Repeat::kWhenUnavailable), StatusIs(absl::StatusCode::kCancelled, _));
}

TEST(ConnectionTest, ReadsTheHealthService) {
  FakeServer server;
  const Connection connection(server.address(), {});
  EXPECT_THAT(connection.CheckHealth(), IsOk());
  server.SetServing(false);
  EXPECT_THAT(connection.CheckHealth(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("does not serve")));
}

TEST(CancellationTest, EndsWaits) {
  Cancellation cancellation;
  EXPECT_TRUE(cancellation.Wait(absl::Microseconds(1)));
  std::thread canceller([&] { cancellation.Cancel(); });
  EXPECT_FALSE(cancellation.Wait(absl::Minutes(5)));
  canceller.join();
  EXPECT_TRUE(cancellation.cancelled());
}

}  // namespace
}  // namespace gradwatch::client
