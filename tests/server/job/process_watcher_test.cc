#include "server/job/process_watcher.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include "server/job/child_process.h"
#include "tests/server/job/process_testing.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;

int32_t StartShell(const std::string& script) {
  const auto nothing = OpenForChild("/dev/null", O_RDWR);
  const auto pid =
      StartChild({.program = "/bin/sh", .arguments = {"-c", script}, .descriptors = {&*nothing, &*nothing, &*nothing}});
  EXPECT_THAT(pid, IsOk());
  return *pid;
}

std::optional<bool> ItIs() { return true; }

TEST(ProcessWatcherTest, AChildIsReapedWithoutADescriptorToWatchItBy) {
  const std::string before = Children();
  ProcessWatcher watcher("reaper");
  const int32_t sleeping = StartShell("sleep 1000"), ending = StartShell("exit 7");
  Ending killed, ended;
  {
    const FullDescriptorTable full;
    watcher.WatchChild(sleeping, killed.Callback());
    watcher.WatchChild(ending, ended.Callback());
    watcher.Kill(sleeping);
    EXPECT_EQ(ended.Await().exit_code, 7);
    EXPECT_EQ(killed.Await().signal, SIGKILL);
  }
  EXPECT_EQ(Children(), before) << "a child that nobody reaped";
}

TEST(ProcessWatcherTest, AnothersProcessIsNotTakenForGoneWhenNothingCanBeOpened) {
  const int32_t pid = StartShell("sleep 1000");
  Ending ended;
  ProcessWatcher watcher("reaper");
  {
    const FullDescriptorTable full;
    EXPECT_THAT(watcher.WatchOther(pid, ItIs, ended.Callback()), IsOk());
    watcher.Kill(pid);  // is done as soon as it is known to be the one
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_TRUE(ended.Await().unknown);
}

TEST(ProcessWatcherTest, WhatCannotBeToldNowIsAskedAgain) {
  const int32_t pid = StartShell("sleep 1000");
  Ending ended;
  ProcessWatcher watcher("reaper");
  int asked = 0;
  EXPECT_THAT(watcher.WatchOther(
                  pid, [&asked]() -> std::optional<bool> { return ++asked == 1 ? std::nullopt : std::optional(false); },
                  ended.Callback()),
              IsOk());
  EXPECT_TRUE(ended.Await().unknown);
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(kill(pid, SIGKILL), 0) << "another one's process";
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST(ProcessWatcherTest, WhatIsNotThereIsNotFound) {
  ProcessWatcher watcher("reaper");
  const auto never = [](const ProcessEnd&) { ADD_FAILURE(); };
  const int32_t pid = StartShell("exit 0");
  EXPECT_THAT(watcher.WatchOther(
                  pid, [] { return std::optional(false); }, never),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_THAT(watcher.WatchOther(pid, ItIs, never), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

}  // namespace
}  // namespace gradwatch::server
