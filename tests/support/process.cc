#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/time/clock.h"

extern char** environ;

namespace gradwatch::testing {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Waits until `fd` can be read; false when `deadline` comes first.
bool Readable(int fd, absl::Time deadline) {
  for (;;) {
    pollfd entry = {fd, POLLIN, 0};
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    const int ready = poll(&entry, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

[[noreturn]] void Die(const char* what) {
  perror(what);
  abort();
}

}  // namespace

Process::Process(std::vector<std::string> arguments, std::vector<std::string> environment) {
  if (!absl::StrContains(arguments[0], "/")) arguments[0] = GRADWATCH_BINARY_DIR "/bin/" + arguments[0];
  std::string pattern = (std::filesystem::temp_directory_path() / "gradwatch-err.XXXXXX").string();
  const int errors = mkstemp(pattern.data());
  errors_path_ = pattern;
  int output[2];
  if (errors < 0 || pipe2(output, O_CLOEXEC) != 0) Die("pipe");

  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  std::vector<char*> argv = Pointers(arguments), envp = Pointers(environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output[1], 1);
  posix_spawn_file_actions_adddup2(&actions, errors, 2);
  if (posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), envp.data()) != 0) Die(argv[0]);
  posix_spawn_file_actions_destroy(&actions);
  close(output[1]);
  close(errors);
  output_ = output[0];
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0) Die("pidfd_open");
}

Process::~Process() {
  if (!exit_.has_value()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(output_);
  close(pidfd_);
  unlink(errors_path_.c_str());
}

std::optional<std::string> Process::ReadLine(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (!Readable(output_, deadline)) return std::nullopt;
    char chunk[65536];
    const ssize_t got = read(output_, chunk, sizeof chunk);
    if (got <= 0) return std::nullopt;
    buffer_.append(chunk, got);
  }
}

std::optional<std::string> Process::ReadUntil(const std::string& text, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    std::optional<std::string> line = ReadLine(deadline - absl::Now());
    if (!line.has_value() || absl::StrContains(*line, text)) return line;
  }
}

int Process::unread() const {
  int bytes = 0;
  if (ioctl(output_, FIONREAD, &bytes) != 0) Die("FIONREAD");
  return bytes;
}

void Process::Signal(int signal) { kill(pid_, signal); }

std::optional<int> Process::Wait(absl::Duration timeout) {
  if (exit_.has_value()) return exit_;
  if (!Readable(pidfd_, absl::Now() + timeout)) return std::nullopt;
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) Die("waitpid");
  exit_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  return exit_;
}

std::string Process::Errors() const {
  std::ostringstream text;
  text << std::ifstream(errors_path_).rdbuf();
  return text.str();
}

RunResult Run(std::vector<std::string> arguments, std::vector<std::string> environment) {
  Process process(std::move(arguments), std::move(environment));
  RunResult result;
  while (const auto line = process.ReadLine()) result.out += *line + "\n";
  result.exit_code = process.Wait().value_or(-1000);
  result.err = process.Errors();
  return result;
}

bool WaitForFile(const std::string& path, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  const int watch = inotify_init1(IN_CLOEXEC);
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (watch < 0 || inotify_add_watch(watch, folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0) Die("inotify");
  bool there = std::filesystem::exists(path);
  while (!there && Readable(watch, deadline)) {
    char events[4096];
    if (read(watch, events, sizeof events) < 0) break;
    there = std::filesystem::exists(path);
  }
  close(watch);
  return there;
}

}  // namespace gradwatch::testing
