#include "server/job/local_launcher.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/server/job/process_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;

class LocalLauncherTest : public ::testing::Test {
 protected:
  // A launcher of a shell script, which gets the arguments of the worker as $1, $2, ... Each has a file of its own: the
  // shell of an earlier one may not have read its script yet.
  std::unique_ptr<LocalLauncher> MakeLauncher(const std::string& script) {
    const std::string path = dir_.Write(absl::StrCat("script", ++scripts_), script);
    auto launcher = LocalLauncher::Create({.program = "/bin/sh", .prefix = {path}, .log_folder = dir_.File("logs")});
    EXPECT_TRUE(launcher.ok());
    (*launcher)->SetServerAddress("127.0.0.1:7");
    return *std::move(launcher);
  }
  // The number in "process 1234".
  static int32_t PidOf(const std::string& handle) {
    int32_t pid = 0;
    EXPECT_TRUE(absl::SimpleAtoi(absl::StripPrefix(handle, "process "), &pid)) << handle;
    return pid;
  }
  std::string ReadLog() const {
    std::ifstream file(dir_.File("logs/uid-2.log"));
    return std::string((std::istreambuf_iterator<char>(file)), {});
  }

  TempDir dir_;
  int scripts_ = 0;
  const LaunchRequest request_{.job_id = "job-a", .uid = "uid", .attempt = 2, .attach_token = "secret"};
};

TEST_F(LocalLauncherTest, TellsTheWorkerWhatItNeedsAndKeepsWhatItSays) {
  auto launcher = MakeLauncher("echo \"$@\" >&2; cat <&3 >&2; exit 3");
  Ending ending;
  const auto worker = launcher->Launch(request_, ending.Callback());
  ASSERT_TRUE(worker.ok()) << worker.status();
  const ProcessEnd end = ending.Await();
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_FALSE(end.unknown);
  EXPECT_THAT(end.last_output, HasSubstr("attach --server 127.0.0.1:7 --job job-a --attempt 2 --token-fd 3\nsecret"));
  EXPECT_EQ(end.last_output, ReadLog());
  EXPECT_THAT(end.ToString(), HasSubstr("ended with exit code 3: "));
  launcher->RemoveOutput("uid", 2);
  EXPECT_FALSE(std::filesystem::exists(dir_.File("logs/uid-2.log")));
}

// Everybody of this user can read /proc/PID/environ and /proc/PID/cmdline.
TEST_F(LocalLauncherTest, TheTokenIsNeitherInTheEnvironmentNorInTheArguments) {
  auto launcher = MakeLauncher("tr '\\0' ' ' </proc/$$/environ >&2; tr '\\0' ' ' </proc/$$/cmdline >&2");
  Ending ending;
  ASSERT_TRUE(launcher->Launch(request_, ending.Callback()).ok());
  EXPECT_THAT(ending.Await().last_output, Not(HasSubstr("secret")));
}

TEST_F(LocalLauncherTest, TellsTheWorkerWhereToLeaveItsLastWordsAndRemovesThem) {
  const std::string script = dir_.Write("script", "echo \"$@\" >&2");
  auto launcher = LocalLauncher::Create(
      {.program = "/bin/sh", .prefix = {script}, .log_folder = dir_.File("logs"), .words_folder = dir_.File("words")});
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  Ending ending;
  ASSERT_TRUE((*launcher)->Launch(request_, ending.Callback()).ok());
  const std::string file = dir_.File("words/uid-2.words");
  EXPECT_EQ(LastWordsFile(dir_.File("words"), "uid", 2), file);
  EXPECT_THAT(ending.Await().last_output, HasSubstr(absl::StrCat("--token-fd 3 --last-words ", file, "\n")));
  EXPECT_EQ(std::filesystem::status(dir_.File("words")).permissions(), std::filesystem::perms::owner_all);
  for (const std::string& words : {file, file + ".part"}) std::ofstream(words) << "words";
  (*launcher)->RemoveOutput("uid", 2);
  EXPECT_TRUE(std::filesystem::is_empty(dir_.File("words")));
}

TEST_F(LocalLauncherTest, LogsAreNobodyElsesToRead) {
  using std::filesystem::perms;
  std::filesystem::create_directory(dir_.File("logs"));
  std::filesystem::permissions(dir_.File("logs"), perms::all);
  auto launcher = MakeLauncher("echo said >&2");
  Ending ending;
  ASSERT_TRUE(launcher->Launch(request_, ending.Callback()).ok());
  ending.Await();
  EXPECT_EQ(std::filesystem::status(dir_.File("logs")).permissions(), perms::owner_all);
  EXPECT_EQ(std::filesystem::status(dir_.File("logs/uid-2.log")).permissions(), perms::owner_read | perms::owner_write);
}

// With every descriptor in use there is no process, or none that nobody watches.
TEST_F(LocalLauncherTest, WithoutDescriptorsNothingIsLeftBehind) {
  auto launcher = MakeLauncher("exit 5");
  const std::string before = Children();
  for (int left = 0; left < 8; ++left) {
    Ending ending;
    absl::StatusOr<std::string> worker;
    {
      const FullDescriptorTable full(left);
      worker = launcher->Launch(request_, ending.Callback());
    }
    if (worker.ok()) {
      EXPECT_EQ(ending.Await().exit_code, 5) << left;
    } else {
      EXPECT_THAT(worker, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("Too many open files"))) << left;
    }
    EXPECT_EQ(Children(), before) << "a child that nobody reaped; " << left << " descriptors";
  }
}

TEST_F(LocalLauncherTest, WorkersGiveWayToTheServer) {
  auto launcher = MakeLauncher("sleep 1000");
  Ending ending;
  const auto worker = launcher->Launch(request_, ending.Callback());
  ASSERT_TRUE(worker.ok());
  EXPECT_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(PidOf(*worker))),
            std::min(getpriority(PRIO_PROCESS, 0) + 10, 19));
  // Where the kernel shares out among sessions first, levels count within one alone.
  EXPECT_EQ(getsid(PidOf(*worker)), getsid(0));
  EXPECT_EQ(getpgid(PidOf(*worker)), PidOf(*worker)) << "what is sent to the server's group is not for it";
  launcher->Kill(*worker);
  ending.Await();
}

TEST_F(LocalLauncherTest, AHandleOfAnotherLauncherIsOfNothingThatIsThere) {
  auto launcher = MakeLauncher("");
  for (const char* handle : {"", "process", "process ", "process x", "process -1", "process 0", "slurm 17"}) {
    launcher->Kill(handle);
    Ending ending;
    launcher->Adopt(handle, request_, ending.Callback());
    EXPECT_TRUE(ending.Await().unknown) << handle;
  }
}

TEST_F(LocalLauncherTest, NamesTheSignal) {
  auto launcher = MakeLauncher("kill -9 $$");
  Ending ending;
  ASSERT_TRUE(launcher->Launch(request_, ending.Callback()).ok());
  const ProcessEnd end = ending.Await();
  EXPECT_EQ(end.signal, SIGKILL);
  EXPECT_EQ(end.ToString(), "killed by signal 9 (SIGKILL)");
}

TEST_F(LocalLauncherTest, ChildrenHaveAGroupOfTheirOwnAndNoDescriptorOfOurs) {
  auto launcher = MakeLauncher("ls /proc/self/fd | wc -l >&2; cut -d' ' -f5 /proc/$$/stat >&2; exit 0");
  Ending ending;
  const auto worker = launcher->Launch(request_, ending.Callback());
  ASSERT_TRUE(worker.ok());
  // Standard streams, the token, and the folder that ls reads.
  EXPECT_EQ(ending.Await().last_output, absl::StrCat("5\n", PidOf(*worker), "\n"));
}

TEST_F(LocalLauncherTest, KillEndsAChildWithWhatItHasStarted) {
  auto launcher = MakeLauncher("sleep 1000");
  Ending ending;
  const auto worker = launcher->Launch(request_, ending.Callback());
  ASSERT_TRUE(worker.ok());
  std::ifstream file(absl::StrCat("/proc/", PidOf(*worker), "/limits"));
  EXPECT_THAT(std::string((std::istreambuf_iterator<char>(file)), {}), ContainsRegex("Max core file size +0 +0"));
  launcher->Kill(*worker);
  EXPECT_EQ(ending.Await().signal, SIGKILL);
  launcher->Kill(*worker);  // it is gone; nobody is hit
}

TEST_F(LocalLauncherTest, AProgramThatCannotBeRunIsNamed) {
  for (const std::string& program : {std::string("/no/such/worker"), std::string("/etc"), dir_.Write("text", "text")}) {
    EXPECT_THAT(LocalLauncher::Create({.program = program, .log_folder = dir_.File("logs")}).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(program)));
  }
}

TEST_F(LocalLauncherTest, AProgramThatIsNotThereAnyMoreIsNamed) {
  const std::string program = dir_.File("worker");
  std::filesystem::copy_file("/bin/sh", program);
  auto launcher = LocalLauncher::Create({.program = program, .log_folder = dir_.File("logs")});
  ASSERT_TRUE(launcher.ok());
  std::filesystem::remove(program);
  EXPECT_THAT((*launcher)->Launch(request_, [](const ProcessEnd&) { ADD_FAILURE(); }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(program)));
}

TEST_F(LocalLauncherTest, AWorkerOutlivesTheServerAndIsAdopted) {
  std::string worker;
  {
    auto launcher = MakeLauncher("sleep 1000");
    const auto launched = launcher->Launch(request_, [](const ProcessEnd&) { ADD_FAILURE(); });
    ASSERT_TRUE(launched.ok());
    worker = *launched;
  }
  ASSERT_EQ(kill(PidOf(worker), 0), 0);
  auto launcher = MakeLauncher("");
  Ending ending;
  launcher->Adopt(worker, request_, ending.Callback());
  launcher->Kill(worker);
  EXPECT_TRUE(ending.Await().unknown);
  kill(-PidOf(worker), SIGKILL);
}

TEST_F(LocalLauncherTest, AProcessOfAnotherJobIsNotAdopted) {
  auto launcher = MakeLauncher("sleep 1000");
  Ending first, second;
  const auto worker = launcher->Launch(request_, first.Callback());
  ASSERT_TRUE(worker.ok());
  LaunchRequest other = request_;
  other.job_id = "job";  // a part of the id of the job that runs
  auto next = MakeLauncher("");
  next->Adopt(*worker, other, second.Callback());
  EXPECT_TRUE(second.Await().unknown);
  next->Kill(*worker);
  EXPECT_EQ(kill(PidOf(*worker), 0), 0) << "it is not that job's";
  launcher->Kill(*worker);
  first.Await();
}

TEST_F(LocalLauncherTest, ManyEndings) {
  auto launcher = MakeLauncher("exit $7");
  constexpr int kMany = 20;
  Ending endings[kMany];
  for (int i = 0; i < kMany; ++i) {
    LaunchRequest request = request_;
    request.uid = absl::StrCat("uid", i);
    request.attempt = i;
    ASSERT_TRUE(launcher->Launch(request, endings[i].Callback()).ok());
  }
  for (int i = 0; i < kMany; ++i) EXPECT_EQ(endings[i].Await().exit_code, i);
}

}  // namespace
}  // namespace gradwatch::server
