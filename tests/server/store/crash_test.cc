// Kills a process that writes to the ledger and looks for what it had been promised.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "server/store/ledger.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::TempDir;

constexpr char kFolder[] = "GRADWATCH_CRASH_TEST_FOLDER";
constexpr char kPipe[] = "GRADWATCH_CRASH_TEST_PIPE";
constexpr int kWaiting = 64;  // operations that wait at any time

// Tells the parent that one more is durable; dies with the parent.
void Acknowledge(int pipe) {
  if (write(pipe, "+", 1) != 1) _exit(0);
}

// The child's part: run only by RunChild below, which ends it.
TEST(DISABLED_CrashChild, Ledger) {
  const int pipe = std::atoi(std::getenv(kPipe));
  auto ledger = Ledger::Open(absl::StrCat(std::getenv(kFolder), "/main.db"), &core::RealClock());
  ASSERT_THAT(ledger, IsOk());
  std::atomic<int64_t> number = 0;
  std::function<void()> submit = [&] {
    (*ledger)->Submit([&](LedgerTransaction& transaction) {
      v1::Event event = MakeEvent("j", ++number);
      transaction.OnCommit([&](const absl::Status& status) {
        if (status.ok()) Acknowledge(pipe);
        submit();
      });
      return transaction.AppendEvent("u", &event).status();
    });
  };
  for (int i = 0; i < kWaiting; ++i) submit();
  pause();
}

// Runs a child until it has acknowledged `acknowledged`, kills it, and returns how many it had acknowledged by then.
int64_t RunChild(const std::string& test, const std::string& folder, int64_t acknowledged) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    setenv(kFolder, folder.c_str(), 1);
    setenv(kPipe, absl::StrCat(ends[1]).c_str(), 1);
    const std::string filter = absl::StrCat("--gtest_filter=", test);
    execl("/proc/self/exe", "crash_child", filter.c_str(), "--gtest_also_run_disabled_tests", "--gtest_brief=1",
          nullptr);
    _exit(127);
  }
  close(ends[1]);
  int64_t count = 0;
  char buffer[64];
  ssize_t got = 0;
  while (count < acknowledged && (got = read(ends[0], buffer, sizeof(buffer))) > 0) count += got;
  kill(child, SIGKILL);
  while ((got = read(ends[0], buffer, sizeof(buffer))) > 0) count += got;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  return count;
}

TEST(CrashTest, TheLedgerKeepsWhatItAcknowledged) {
  for (const int64_t kill_after : {1, 50, 333, 1000, 2500}) {
    const TempDir dir;
    const int64_t acknowledged = RunChild("DISABLED_CrashChild.Ledger", dir.path(), kill_after);
    ASSERT_GE(acknowledged, kill_after);
    auto ledger = Ledger::Open(dir.File("main.db"), &core::RealClock());
    ASSERT_THAT(ledger, IsOk());
    auto reader = LedgerReader::Open(dir.File("main.db"));
    ASSERT_THAT(reader, IsOk());
    const auto events = (*reader)->ReadEvents("u", 0, 1 << 30, SIZE_MAX);
    ASSERT_THAT(events, IsOk());
    ASSERT_GE(static_cast<int64_t>(events->size()), acknowledged);
    for (size_t i = 0; i < events->size(); ++i) ASSERT_EQ((*events)[i].event.number(), static_cast<int64_t>(i) + 1);
    EXPECT_THAT(AppendEvent(**ledger, "u", MakeEvent("j", static_cast<int64_t>(events->size()) + 1)), IsOk());
  }
}

}  // namespace
}  // namespace gradwatch::server
