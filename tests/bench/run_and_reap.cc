#include "tests/bench/run_and_reap.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gradwatch::testing {
namespace {

// The processes whose parent is this one.
std::vector<pid_t> Children() {
  std::ifstream file(absl::StrCat("/proc/self/task/", getpid(), "/children"));
  return std::vector<pid_t>(std::istream_iterator<pid_t>(file), {});
}

}  // namespace

int RunAndReap(const std::function<int()>& run) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t signals, before;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, &before);
  const pid_t child = fork();
  if (child == 0) {
    sigprocmask(SIG_SETMASK, &before, nullptr);
    std::exit(run());
  }
  int code = -1;
  while (code < 0) {
    int signal = 0, status = 0;
    sigwait(&signals, &signal);
    if (signal != SIGCHLD) code = 128 + signal;
    for (pid_t ended = waitpid(-1, &status, WNOHANG); ended > 0; ended = waitpid(-1, &status, WNOHANG)) {
      if (ended == child) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
  do {
    for (const pid_t left : Children()) kill(left, SIGKILL);
  } while (waitpid(-1, nullptr, 0) > 0);
  return code;
}

}  // namespace gradwatch::testing
