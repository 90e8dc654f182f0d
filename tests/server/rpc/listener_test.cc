#include "server/rpc/listener.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::string PathOf(const Listener& listener) { return listener.address().substr(strlen("unix:")); }

bool CanConnect(const SocketAddress& address) {
  const int client = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = connect(client, address.get(), address.size) == 0;
  close(client);
  return connected;
}
bool CanConnect(const std::string& text) {
  const auto address = ReadListenAddress(text);
  EXPECT_THAT(address, IsOk());
  return CanConnect(address->addresses[0]);
}

TEST(ListenAddressTest, WhatIsNoAddressIsRefused) {
  for (const char* text : {"", "127.0.0.1", ":0", "127.0.0.1:", "127.0.0.1:abc", "127.0.0.1:-1", "127.0.0.1:65536",
                           "::1:0", "[::1:0", "::1]:0", "[127.0.0.1]:0", "[]:0", "[[::1]]:0", "unixx"}) {
    EXPECT_THAT(ReadListenAddress(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not ADDRESS:PORT")))
        << text;
  }
  EXPECT_THAT(ReadListenAddress("no-such-host.invalid:0"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no-such-host.invalid")));
}

TEST(ListenAddressTest, PathsThatClientsCannotNameAreRefused) {
  for (const std::string& path : {std::string(), std::string("a b"), std::string("a%b"), std::string("a?b"),
                                  std::string("\0abstract", 9), "/" + std::string(200, 'a')}) {
    EXPECT_THAT(ReadListenAddress("unix:" + path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not unix:PATH")))
        << path;
  }
}

TEST(ListenAddressTest, PathsAreMadeAbsolute) {
  const auto relative = ReadListenAddress("unix:./socket");
  ASSERT_THAT(relative, IsOk());
  EXPECT_EQ(relative->WithPort(0), absl::StrCat("unix:", std::filesystem::current_path().string(), "/socket"));
  const auto slashes = ReadListenAddress("unix:///tmp/socket");
  ASSERT_THAT(slashes, IsOk());
  EXPECT_EQ(slashes->DialAddress(0), "unix:/tmp/socket");
}

TEST(ListenAddressTest, KnowsWhatOtherMachinesReach) {
  for (const char* text : {"127.0.0.1:0", "127.8.9.10:1", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:0", "unix:s"}) {
    const auto address = ReadListenAddress(text);
    ASSERT_THAT(address, IsOk()) << text;
    EXPECT_TRUE(address->is_local()) << text;
  }
  for (const char* text : {"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[2001:db8::1]:0", "[::ffff:192.0.2.1]:0"}) {
    const auto address = ReadListenAddress(text);
    ASSERT_THAT(address, IsOk()) << text;
    EXPECT_FALSE(address->is_local()) << text;
  }
}

TEST(ListenAddressTest, SaysWhereAWorkerReachesTheServer) {
  EXPECT_EQ(ReadListenAddress("127.0.0.1:0")->DialAddress(5), "127.0.0.1:5");
  EXPECT_EQ(ReadListenAddress("localhost:0")->DialAddress(5), "localhost:5");
  EXPECT_EQ(ReadListenAddress("[::1]:0")->DialAddress(5), "[::1]:5");
  EXPECT_EQ(ReadListenAddress("0.0.0.0:0")->DialAddress(5), "127.0.0.1:5");
  EXPECT_EQ(ReadListenAddress("[::]:0")->DialAddress(5), "[::1]:5");
}

TEST(ListenerTest, BeyondThisMachineOnlyIfItIsMeant) {
  for (const char* text : {"0.0.0.0:0", "[::]:0", "192.0.2.1:0"}) {
    EXPECT_THAT(Listener::Open(text, /*beyond_this_machine=*/false),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--insecure")))
        << text;
  }
}

TEST(ListenerTest, AFreePortIsFoundAndHeld) {
  const auto listener = Listener::Open("127.0.0.1:0", false);
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT((*listener)->address(), Not(EndsWith(":0")));
  EXPECT_THAT((*listener)->sockets(), SizeIs(1));
  EXPECT_TRUE(CanConnect((*listener)->address()));
  EXPECT_THAT(Listener::Open((*listener)->address(), false),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr((*listener)->address())));
}

TEST(ListenerTest, ANameIsListenedOnAtAllItsAddresses) {
  const auto listener = Listener::Open("localhost:0", false);
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT((*listener)->address(), StartsWith("localhost:"));
  const auto bound = ReadListenAddress((*listener)->address());
  ASSERT_THAT(bound, IsOk());
  size_t reached = 0;
  for (const SocketAddress& address : bound->addresses) reached += CanConnect(address) ? 1 : 0;
  EXPECT_EQ(reached, (*listener)->sockets().size()) << "all of them, but for IPv6 where there is none";
}

TEST(ListenerTest, ASocketFileBelongsToItsUserAndGoesWithTheListener) {
  const testing::TempDir dir;
  const mode_t mask = umask(0);
  auto listener = Listener::Open("unix:" + dir.File("s"), false);
  umask(mask);
  ASSERT_THAT(listener, IsOk());
  struct stat file = {};
  ASSERT_EQ(lstat(PathOf(**listener).c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777u, 0600u);
  EXPECT_TRUE(CanConnect((*listener)->address()));
  (*listener)->Close();
  EXPECT_FALSE(std::filesystem::exists(dir.File("s")));
}

TEST(ListenerTest, ASocketFileThatNobodyListensAtIsReplaced) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("s");
  {
    const auto first = Listener::Open(address, false);
    ASSERT_THAT(first, IsOk());
    EXPECT_THAT(Listener::Open(address, false),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another server listens there")));
    ASSERT_EQ(link(dir.File("s").c_str(), dir.File("left").c_str()), 0);
  }
  const auto second = Listener::Open("unix:" + dir.File("left"), false);
  ASSERT_THAT(second, IsOk()) << "as after kill -9";
  EXPECT_TRUE(CanConnect((*second)->address()));
}

TEST(ListenerTest, WhatIsNoSocketIsLeftAlone) {
  const testing::TempDir dir;
  dir.Write("notes", "important");
  EXPECT_THAT(Listener::Open("unix:" + dir.File("notes"), false),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot listen on")));
  EXPECT_EQ(std::filesystem::file_size(dir.File("notes")), 9u);
  EXPECT_THAT(Listener::Open("unix:" + dir.File("no/such/folder"), false),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot listen on")));
}

TEST(ListenerTest, ASocketFileOfAnotherIsNotRemoved) {
  const testing::TempDir dir;
  const auto first = Listener::Open("unix:" + dir.File("s"), false);
  ASSERT_THAT(first, IsOk());
  std::filesystem::remove(dir.File("s"));
  const auto second = Listener::Open("unix:" + dir.File("s"), false);
  ASSERT_THAT(second, IsOk());
  (*first)->Close();
  EXPECT_TRUE(CanConnect((*second)->address()));
}

}  // namespace
}  // namespace gradwatch::server
