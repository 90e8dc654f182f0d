// `gradwatch-worker check` as a process: its limits, and its end.
#include "client/worker/check.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "core/base/file_descriptor.h"
#include "tests/support/allocation_count.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// A check that waits for what it is asked, started by a shell that waits for it.
class CheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(mkfifo(dir_.File("question").c_str(), 0600), 0);
    shell_ = std::make_unique<testing::Process>(std::vector<std::string>{
        "/bin/sh", "-c", "\"$1\" check --max-bytes 500000000 --max-seconds 7 <\"$2\" & echo $!; wait", "sh",
        GRADWATCH_BINARY_DIR "/bin/gradwatch-worker", dir_.File("question")});
    const auto line = shell_->ReadLine();
    ASSERT_TRUE(line.has_value());
    pid_ = std::stoi(*line);
    process_ = core::FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    question_ = core::FileDescriptor(open(dir_.File("question").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_GE(question_.get(), 0);
    // It limits itself before it reads what it is asked, and begins with its priority.
    while (!HasLastLimit() && kill(pid_, 0) == 0) sched_yield();
    EXPECT_EQ(getpriority(PRIO_PROCESS, pid_), 19) << "no less nice than what trains";
  }

  std::string Limits() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/limits");
    return std::string((std::istreambuf_iterator<char>(file)), {});
  }
  // The last is that of addresses, or under a sanitizer, which reserves more of them, that of processor time.
  bool HasLastLimit() const {
    static const std::regex last(testing::CountsAllocations() ? "Max address space +500000000 " : "Max cpu time +7 ");
    return std::regex_search(Limits(), last);
  }

  testing::TempDir dir_;
  std::unique_ptr<testing::Process> shell_;
  pid_t pid_ = 0;
  core::FileDescriptor process_, question_;
};

TEST_F(CheckTest, LimitsItself) {
  const std::string limits = Limits();
  EXPECT_THAT(limits, ContainsRegex("Max cpu time +7 +7 "));
  EXPECT_THAT(limits, ContainsRegex("Max core file size +0 +0 "));
  EXPECT_THAT(limits, ContainsRegex("Max file size +67108864 +67108864 "));
  if (testing::CountsAllocations()) {
    EXPECT_THAT(limits, ContainsRegex("Max address space +500000000 +500000000 "));
  }
}

TEST_F(CheckTest, EndsWithWhoeverStartedIt) {
  kill(shell_->pid(), SIGKILL);
  pollfd ended = {.fd = process_.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ended, 1, 60'000), 1);
}

TEST(CheckProgramTest, IsMarkedAsInternal) {
  const testing::RunResult help = testing::Run({"gradwatch-worker", "--help"});
  EXPECT_THAT(help.out, ContainsRegex("check +Internal"));
}

TEST(CheckProgramTest, NonsenseIsAnsweredToo) {
  // Asked nothing; the answer has no end of a line.
  const testing::RunResult result =
      testing::Run({"/bin/sh", "-c", "\"$1\" check && echo", "sh", GRADWATCH_BINARY_DIR "/bin/gradwatch-worker"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("what was asked cannot be read"));
}

}  // namespace
}  // namespace gradwatch::worker
