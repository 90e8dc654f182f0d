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
#include <string>

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
    while (getpriority(PRIO_PROCESS, pid_) != 10 && kill(pid_, 0) == 0) sched_yield();  // it limits itself first
  }

  testing::TempDir dir_;
  std::unique_ptr<testing::Process> shell_;
  pid_t pid_ = 0;
  core::FileDescriptor process_, question_;
};

TEST_F(CheckTest, LimitsItself) {
  // Its limits come after its priority; when it is asked nothing and answers, it has set them all.
  std::string limits;
  do {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/limits");
    limits.assign((std::istreambuf_iterator<char>(file)), {});
  } while (testing::CountsAllocations() && limits.find("500000000") == std::string::npos && kill(pid_, 0) == 0);
  EXPECT_THAT(limits, ContainsRegex("Max cpu time +7 +7 "));
  EXPECT_THAT(limits, ContainsRegex("Max core file size +0 +0 "));
  if (testing::CountsAllocations()) {
    EXPECT_THAT(limits, ContainsRegex("Max address space +500000000 +500000000 "));
  }
}

TEST_F(CheckTest, EndsWithWhoeverStartedIt) {
  kill(shell_->pid(), SIGKILL);
  pollfd ended = {.fd = process_.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ended, 1, 20'000), 1);
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
