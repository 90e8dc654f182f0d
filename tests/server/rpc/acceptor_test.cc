#include "server/rpc/acceptor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <climits>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "server/rpc/listener.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;

constexpr absl::Duration kLong = absl::Seconds(60);

// A socket that is not connected yet.
int OpenClient() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

// Takes every descriptor that the process may have, until it goes.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit low = before_;
    low.rlim_cur = 128;
    setrlimit(RLIMIT_NOFILE, &low);
    for (int taken = open("/dev/null", O_RDONLY | O_CLOEXEC); taken >= 0;
         taken = open("/dev/null", O_RDONLY | O_CLOEXEC))
      taken_.push_back(taken);
  }
  ~NoDescriptors() {
    for (const int taken : taken_) close(taken);
    setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_ = {};
  std::vector<int> taken_;
};

class AcceptorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto listener = Listener::Open("127.0.0.1:0", false);
    ASSERT_THAT(listener, IsOk());
    listener_ = *std::move(listener);
    address_ = ReadListenAddress(listener_->address())->addresses[0];
  }
  void TearDown() override {
    acceptor_.reset();
    absl::MutexLock lock(&mutex_);
    for (const int connection : taken_) close(connection);
  }

  void Start(int descriptors) {
    auto acceptor = Acceptor::Start(listener_->sockets(), descriptors, [this](int, int connection) {
      absl::MutexLock lock(&mutex_);
      taken_.push_back(connection);
    });
    ASSERT_THAT(acceptor, IsOk());
    acceptor_ = *std::move(acceptor);
  }
  bool Connect(int client) { return connect(client, address_.get(), address_.size) == 0; }
  // Waits until so many connections were taken.
  bool WaitForTaken(size_t count) {
    const auto enough = [&] {
      mutex_.AssertHeld();
      return taken_.size() >= count;
    };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kLong);
  }

  std::unique_ptr<Listener> listener_;
  SocketAddress address_;
  std::unique_ptr<Acceptor> acceptor_;
  absl::Mutex mutex_;
  std::vector<int> taken_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(AcceptorTest, ConnectionsDoNotBlockAndCloseOnExec) {
  Start(INT_MAX);
  const int client = OpenClient();
  ASSERT_TRUE(Connect(client));
  ASSERT_TRUE(WaitForTaken(1));
  absl::MutexLock lock(&mutex_);
  EXPECT_NE(fcntl(taken_[0], F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(taken_[0], F_GETFD) & FD_CLOEXEC, 0);
  close(client);
}

TEST_F(AcceptorTest, GoesOnWhenDescriptorsAreFreeAgain) {
  Start(INT_MAX);
  const int first = OpenClient(), second = OpenClient();
  {
    const NoDescriptors none;
    ASSERT_TRUE(Connect(first)) << "the kernel takes it";
    while (acceptor_->failed() == 0) std::this_thread::yield();
  }
  EXPECT_TRUE(WaitForTaken(1)) << "who waited is served";
  ASSERT_TRUE(Connect(second));
  EXPECT_TRUE(WaitForTaken(2));
  close(first);
  close(second);
}

TEST_F(AcceptorTest, WhoFindsNoDescriptorIsTurnedAway) {
  Start(0);
  const int client = OpenClient();
  ASSERT_TRUE(Connect(client));
  char byte;
  EXPECT_EQ(read(client, &byte, 1), 0) << "closed by the server";
  EXPECT_EQ(acceptor_->refused(), 1);
  close(client);
}

TEST_F(AcceptorTest, WhatElseIsOpenTakesNoPlaceOfAConnection) {
  std::vector<int> files;
  for (int i = 0; i < 50; ++i) files.push_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  Start(2);
  const int clients[] = {OpenClient(), OpenClient(), OpenClient()};
  for (const int client : clients) ASSERT_TRUE(Connect(client));
  EXPECT_TRUE(WaitForTaken(2));
  char byte;
  EXPECT_EQ(read(clients[2], &byte, 1), 0) << "one too many";
  EXPECT_EQ(acceptor_->refused(), 1);
  for (const int descriptor : clients) close(descriptor);
  for (const int file : files) close(file);
}

TEST_F(AcceptorTest, NothingIsTakenAfterItsEnd) {
  Start(INT_MAX);
  acceptor_.reset();
  const int client = OpenClient();
  ASSERT_TRUE(Connect(client)) << "the kernel takes it";
  absl::MutexLock lock(&mutex_);
  EXPECT_THAT(taken_, ::testing::IsEmpty());
  close(client);
}

TEST_F(AcceptorTest, CutsItsConnectionsAndNoOthers) {
  int others[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, others), 0);
  Start(INT_MAX);
  const int client = OpenClient();
  ASSERT_TRUE(Connect(client));
  ASSERT_TRUE(WaitForTaken(1));
  acceptor_->Stop();
  listener_->Close();
  acceptor_->Cut();
  char byte = 0;
  EXPECT_EQ(read(client, &byte, 1), 0) << "ended by the server";
  EXPECT_EQ(write(others[0], "x", 1), 1);
  EXPECT_EQ(read(others[1], &byte, 1), 1);
  for (const int descriptor : {client, others[0], others[1]}) close(descriptor);
}

}  // namespace
}  // namespace gradwatch::server
