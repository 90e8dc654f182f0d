// Small things that must not bring a server down: connections by the thousand, a full table of descriptors, and specs
// that name large files.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/synchronization/notification.h"
#include "tests/faults/fault_fixture.h"
#include "tests/support/large_table.h"

namespace gradwatch::testing {
namespace {

// Connections that say nothing. Those that the server does not take in time stay in its queue.
class IdleConnections {
 public:
  IdleConnections(int port, int count) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) break;  // this process has no more
      fds_.push_back(fd);
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
  }
  ~IdleConnections() {
    for (const int fd : fds_) close(fd);
  }
  IdleConnections(const IdleConnections&) = delete;
  IdleConnections& operator=(const IdleConnections&) = delete;
  size_t size() const { return fds_.size(); }
  // Until the system has connected, or refused, every one of them.
  void AwaitConnected() {
    std::vector<pollfd> waiting;
    for (const int fd : fds_) waiting.push_back({fd, POLLOUT, 0});
    for (const absl::Time end = absl::Now() + absl::Seconds(10); !waiting.empty() && absl::Now() < end;) {
      poll(waiting.data(), waiting.size(), 1000);
      waiting.erase(
          std::remove_if(waiting.begin(), waiting.end(), [](const pollfd& entry) { return entry.revents != 0; }),
          waiting.end());
    }
  }

 private:
  std::vector<int> fds_;
};

size_t OpenDescriptors(pid_t pid) {
  size_t count = 0;
  std::error_code gone;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"), gone)) {
    ++count;
  }
  return count;
}

class SlowDescriptorsTest : public FaultTest {
 protected:
  // A server under a limit ("-n": for good, "-Sn": it may raise it itself) with a job that runs, through a flood of
  // connections and afterwards.
  void SurviveFlood(const std::string& limit) {
    ServerProcess::Options options;
    options.prefix = {"/bin/bash", "-c", "ulimit " + limit + "; exec \"$@\"", "limited"};
    ASSERT_NO_FATAL_FAILURE(StartServer(std::move(options)));
    Create("job", Spec(kForEver, 256));
    ASSERT_GE(outside_->AwaitLiveStep("job"), 0);
    int64_t last = 0;
    {
      IdleConnections flood(server_->port(), 2000);
      ASSERT_GT(flood.size(), 300u);
      flood.AwaitConnected();
      // Who was connected before is served all the while, and so is the trainer.
      last = outside_->AwaitLiveStep("job");
      EXPECT_GE(last, 0);
      std::cout << flood.size() << " connections, the server has " << OpenDescriptors(server_->pid()) << " descriptors"
                << std::endl;
    }
    ASSERT_TRUE(server_->alive()) << server_->Errors();
    Outside newcomer(server_->address());
    EXPECT_TRUE(newcomer.AwaitAnswer()) << "it does not listen any more: " << server_->Errors();
    EXPECT_GT(newcomer.AwaitLiveStep("job"), last);
    EXPECT_EQ(Get("job").attempt(), 1);
    Create("new", Spec(10));
    EXPECT_TRUE(newcomer.AwaitEnd("new")) << "its worker cannot attach";
    EXPECT_EQ(server_->Terminate(), 0);
  }
};

TEST_F(SlowDescriptorsTest, AFullTableOfDescriptorsIsGotOver) { SurviveFlood("-n 256"); }

TEST_F(SlowDescriptorsTest, ALowSoftLimitIsGotOver) { SurviveFlood("-Sn 256"); }

class SlowDryRunTest : public FaultTest {};

TEST_F(SlowDryRunTest, OfLargeTablesLeavesQuickCallsQuick) {
  const int tables = IsLong() ? 4 : 1;
  WriteTable(dir_.File("table.csv"), IsLong() ? 300'000'000 : 40'000'000);
  ServerProcess::Options options;
  options.arguments = {"--data-root", dir_.path()};
  ASSERT_NO_FATAL_FAILURE(StartServer(std::move(options)));
  Create("job", Spec(kForEver, 64));
  ASSERT_GE(outside_->AwaitLiveStep("job"), 0);
  const int64_t before = ResidentBytes(server_->pid());

  std::atomic<int> under_way{tables};
  std::vector<std::thread> dry_runs;
  for (int i = 0; i < tables; ++i) {
    dry_runs.emplace_back([&, own = Outside(server_->address())] {
      const grpc::Status status = own.Create("", TableJob("table.csv"), /*validate_only=*/true);
      // A file that is too large may be refused; what it must not do is to bring others down.
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
                  status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED)
          << status.error_code() << " " << status.error_message();
      std::cout << (status.ok() ? "accepted" : status.error_message()) << std::endl;
      --under_way;
    });
  }
  std::vector<double> milliseconds;
  int changes = 0;
  do {
    v1::Job job;
    const absl::Time begin = absl::Now();
    const grpc::Status got = outside_->Get("job", &job);
    EXPECT_TRUE(got.ok()) << got.error_message();
    milliseconds.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
    v1::AdjustJobResponse response;
    const grpc::Status set = outside_->SetClip("job", 1 + changes++, "", &response);
    EXPECT_TRUE(set.ok()) << set.error_message();
    absl::Notification().WaitForNotificationWithTimeout(absl::Milliseconds(5));  // some calls, not a flood of them
  } while (under_way > 0 && server_->alive() && !HasFailure());
  for (std::thread& dry_run : dry_runs) dry_run.join();
  ASSERT_TRUE(server_->alive()) << server_->Errors();

  const int64_t grown = PeakResidentBytes(server_->pid()) - before;
  std::sort(milliseconds.begin(), milliseconds.end());
  std::cout << milliseconds.size() << " GetJob, ms: p50 " << milliseconds[milliseconds.size() / 2] << ", p99 "
            << milliseconds[milliseconds.size() * 99 / 100] << ", longest " << milliseconds.back()
            << "; the server's memory grew by " << grown / 1'000'000 << " MB" << std::endl;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they take memory of their own
  EXPECT_LT(grown, int64_t{64} << 20);
#endif
  EXPECT_GE(outside_->AwaitLiveStep("job"), 0);
}

}  // namespace
}  // namespace gradwatch::testing
