// How the server listens: what it does when descriptors run out, on a socket file, and beyond this machine.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "tests/integration/server_fixture.h"

namespace gradwatch::testing {
namespace {

using ::testing::HasSubstr;

class ListeningTest : public ServerTest {
 protected:
  // Starts the server in a shell that has run `limits`, and listens at `listen`.
  void StartUnder(const std::string& limits, const std::string& listen) {
    std::filesystem::remove(dir_.File("port"));
    const std::string program = GRADWATCH_BINARY_DIR "/bin/gradwatchd";
    server_ = std::make_unique<Process>(std::vector<std::string>{"/bin/bash", "-c", limits + "; exec \"$@\"", "limited",
                                                                 program, "--data-dir", dir_.File("data"), "--listen",
                                                                 listen, "--port-file", dir_.File("port")});
    ASSERT_TRUE(WaitForFile(dir_.File("port"))) << server_->Errors();
    std::ifstream file(dir_.File("port"));
    std::string protocol;
    file >> protocol >> address_;
  }
  void Stop() {
    server_->Signal(SIGTERM);
    EXPECT_EQ(server_->Wait(), 0) << server_->Errors();
  }

  // A connection to the server that says nothing; -1: there is none.
  int Connect() const {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address_.substr(address_.rfind(':') + 1), &port));
    address.sin_port = htons(static_cast<uint16_t>(port));
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return client;
    close(client);
    return -1;
  }

  // Whether the server closes a connection without a word; waits until it says or does something.
  static bool IsTurnedAway(int client) {
    const timeval most = {60, 0};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    char byte = 0;
    const ssize_t read = recv(client, &byte, 1, 0);
    return read == 0 || (read < 0 && errno == ECONNRESET);
  }

  // Runs a job of ten steps to its end.
  void RunSmallJob(const std::string& job) {
    std::string spec = kLongJob;
    spec.replace(spec.find("1000000000"), 10, "10");
    Submit(spec, job);
    EXPECT_EQ(Gradwatch({"job", "wait", job}).exit_code, 0) << server_->Errors();
  }
};

TEST_F(ListeningTest, ClientsAreServedAgainAfterTheDescriptorsRanOut) {
  rlimit own = {};
  getrlimit(RLIMIT_NOFILE, &own);
  own.rlim_cur = own.rlim_max;
  setrlimit(RLIMIT_NOFILE, &own);
  StartUnder("ulimit -n 256", "127.0.0.1:0");
  RunSmallJob("before");
  std::vector<int> clients;
  for (int i = 0; i < 2000; ++i) {
    if (const int client = Connect(); client >= 0) clients.push_back(client);
  }
  ASSERT_GT(clients.size(), 256u);
  // Connecting needs only the kernel: that the last one is turned away says that the server has seen them all.
  EXPECT_TRUE(IsTurnedAway(clients.back()));
  for (const int client : clients) close(client);
  // Who comes before the server has closed its ends is still turned away.
  int tries = 0;
  while (Gradwatch({"health"}).exit_code != 0 && ++tries < 500) {
  }
  RunSmallJob("after");
  EXPECT_THAT(server_->Errors(), HasSubstr("too many connections"));
  Stop();
}

TEST_F(ListeningTest, TheSoftLimitOfDescriptorsIsRaised) {
  StartUnder("ulimit -Sn 64", "127.0.0.1:0");
  std::ifstream limits("/proc/" + std::to_string(server_->pid()) + "/limits");
  std::string line;
  while (std::getline(limits, line) && !absl::StartsWith(line, "Max open files")) {
  }
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  ASSERT_GE(words.size(), 5u) << line;
  EXPECT_EQ(words[3], words[4]) << line;
}

TEST_F(ListeningTest, JobsRunOverASocketFile) {
  const std::string path = dir_.File("gradwatch.sock");
  StartUnder(":", "unix:" + path);
  EXPECT_EQ(address_, "unix:" + path);
  struct stat file = {};
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777u, 0600u) << "whoever may connect may do everything";
  RunSmallJob("first");

  server_->Signal(SIGKILL);
  server_->Wait();
  ASSERT_TRUE(std::filesystem::exists(path));
  StartUnder(":", "unix:" + path);
  EXPECT_EQ(StateOf("first"), "succeeded");
  const RunResult second =
      gradwatch::testing::Run({"gradwatchd", "--data-dir", dir_.File("other"), "--listen", "unix:" + path});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("another server listens there"));
  RunSmallJob("second");
  Stop();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(ListeningTest, OtherMachinesReachItOnlyIfThatIsMeant) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "192.0.2.1:7700"}) {
    const RunResult result =
        gradwatch::testing::Run({"gradwatchd", "--data-dir", dir_.File("data"), "--listen", address});
    EXPECT_EQ(result.exit_code, 2) << address;
    EXPECT_THAT(result.err, HasSubstr("--insecure")) << address;
  }
  EXPECT_FALSE(std::filesystem::exists(dir_.File("data"))) << "a wrong command changes nothing";
}

// CLI11 would take "0x10" as 16.
TEST_F(ListeningTest, NumbersAreDecimal) {
  const std::pair<const char*, const char*> cases[] = {{"0x10", "\"0x10\" is not a decimal number"},
                                                       {"4x", "\"4x\" is not a decimal number"},
                                                       {"0", "\"0\" is not a whole number from 1 to 10000"},
                                                       {"1.5", "\"1.5\" is not a whole number from 1 to 10000"},
                                                       {"1e5", "\"1e5\" is not a whole number from 1 to 10000"}};
  for (const auto& [text, error] : cases) {
    const RunResult result =
        gradwatch::testing::Run({"gradwatchd", "--data-dir", dir_.File("data"), "--max-running-jobs", text});
    EXPECT_EQ(result.exit_code, 2) << text;
    EXPECT_THAT(result.err, HasSubstr(error));
  }
  EXPECT_FALSE(std::filesystem::exists(dir_.File("data"))) << "a wrong command changes nothing";
}

TEST_F(ListeningTest, SubscribersWhoAreStoppedDoNotHoldTheEnd) {
  StartServer();
  Submit(kLongJob, "job");
  ASSERT_EQ(Gradwatch({"watch", "job", "--from-beginning", "--until-step", "5000"}).exit_code, 0);
  std::vector<std::unique_ptr<Process>> subscribers;
  for (int i = 0; i < 40; ++i) {
    subscribers.push_back(Start({"watch", "job", "--from-beginning", "-o", "json"}));
    ASSERT_TRUE(subscribers.back()->ReadLine().has_value()) << subscribers.back()->Errors();
    subscribers.back()->Signal(SIGSTOP);
  }
  server_->Signal(SIGTERM);
  // It takes half a second; that connections are not cut costs 8 s, and up to half a minute.
  EXPECT_EQ(server_->Wait(absl::Seconds(15)), 0) << server_->Errors();
}

}  // namespace
}  // namespace gradwatch::testing
