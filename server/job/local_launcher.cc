#include "server/job/local_launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

constexpr char kTokenVariable[] = "GRADWATCH_ATTACH_TOKEN";
// What is read back of a log; enough for the last few lines.
constexpr std::streamoff kOutputTail = 4096;

// The form of arguments and environment that exec wants. Points into `texts`.
std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> EnvironmentWith(const std::string& token) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!absl::StartsWith(*variable, absl::StrCat(kTokenVariable, "="))) variables.push_back(*variable);
  }
  variables.push_back(absl::StrCat(kTokenVariable, "=", token));
  return variables;
}

// The last bytes of a file, from the start of a line.
std::string ReadTail(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const std::streamoff size = file.tellg();
  const std::streamoff start = size > kOutputTail ? size - kOutputTail : 0;
  file.seekg(start);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  if (start > 0) text.erase(0, text.find('\n') + 1);
  return text;
}

bool CommandLineNames(int32_t pid, const std::string& job_id) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/cmdline"), std::ios::binary);
  const std::string line((std::istreambuf_iterator<char>(file)), {});
  const std::string argument = absl::StrCat(std::string(1, '\0'), job_id, std::string(1, '\0'));
  return absl::StrContains(line, argument);
}

// A group of its own, no signal blocked or ignored: the server blocks those that it waits for.
void SetAttributes(posix_spawnattr_t* attributes) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &all);
  posix_spawnattr_setpgroup(attributes, 0);
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

void SetFiles(posix_spawn_file_actions_t* actions, const std::string& log) {
  posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(actions, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalLauncher>> LocalLauncher::Create(LocalLauncherOptions options) {
  std::error_code error;
  if (std::filesystem::is_directory(options.program, error) || access(options.program.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("worker ", options.program, ": no program that may be run"));
  }
  std::filesystem::create_directories(options.log_folder, error);
  if (error) return absl::UnavailableError(absl::StrCat(options.log_folder, ": ", error.message()));
  return std::unique_ptr<LocalLauncher>(new LocalLauncher(std::move(options)));
}

void LocalLauncher::SetServerAddress(std::string address) {
  absl::MutexLock lock(&mutex_);
  server_address_ = std::move(address);
}

absl::StatusOr<int32_t> LocalLauncher::Launch(const LaunchRequest& request,
                                              absl::AnyInvocable<void(const ProcessEnd&)> ended) {
  GW_ASSIGN_OR_RETURN(const int32_t pid, Spawn(request));
  // Until it is reaped, which only the watcher does, the process keeps its number, however soon it ends.
  const absl::Status watched = watcher_.WatchChild(pid, WithOutput(request, std::move(ended)));
  if (!watched.ok()) {
    kill(-pid, SIGKILL);
    return watched;
  }
  return pid;
}

absl::StatusOr<int32_t> LocalLauncher::Spawn(const LaunchRequest& request) const {
  std::vector<std::string> arguments = {options_.program};
  arguments.insert(arguments.end(), options_.prefix.begin(), options_.prefix.end());
  {
    absl::MutexLock lock(&mutex_);
    arguments.insert(arguments.end(), {"attach", "--server", server_address_, "--job", request.job_id, "--attempt",
                                       absl::StrCat(request.attempt)});
  }
  std::vector<std::string> environment = EnvironmentWith(request.attach_token);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const absl::Cleanup destroy = [&] {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  };
  SetAttributes(&attributes);
  SetFiles(&actions, LogFile(request.uid, request.attempt));
  pid_t pid = 0;
  const int error = posix_spawn(&pid, options_.program.c_str(), &actions, &attributes, Pointers(arguments).data(),
                                Pointers(environment).data());
  if (error != 0) return absl::ErrnoToStatus(error, options_.program);
  // A core file of a trainer would hold its whole model.
  const rlimit no_core = {0, 0};
  prlimit(pid, RLIMIT_CORE, &no_core, nullptr);
  return pid;
}

void LocalLauncher::Adopt(int32_t pid, const LaunchRequest& request,
                          absl::AnyInvocable<void(const ProcessEnd&)> ended) {
  auto callback = std::make_shared<absl::AnyInvocable<void(const ProcessEnd&)>>(WithOutput(request, std::move(ended)));
  const absl::Status watched = watcher_.WatchOther(
      pid, [&] { return CommandLineNames(pid, request.job_id); },
      [callback](const ProcessEnd& end) { (*callback)(end); });
  if (watched.ok()) return;
  ProcessEnd end;
  end.unknown = true;
  (*callback)(end);
}

void LocalLauncher::Kill(int32_t pid) { watcher_.Kill(pid); }

void LocalLauncher::RemoveOutput(const std::string& uid, int32_t attempts) {
  std::error_code ignored;
  for (int32_t attempt = 1; attempt <= attempts; ++attempt) std::filesystem::remove(LogFile(uid, attempt), ignored);
}

std::string LocalLauncher::LogFile(const std::string& uid, int32_t attempt) const {
  return absl::StrCat(options_.log_folder, "/", uid, "-", attempt, ".log");
}

absl::AnyInvocable<void(const ProcessEnd&)> LocalLauncher::WithOutput(
    const LaunchRequest& request, absl::AnyInvocable<void(const ProcessEnd&)> ended) const {
  return [log = LogFile(request.uid, request.attempt), ended = std::move(ended)](const ProcessEnd& end) mutable {
    ProcessEnd with_output = end;
    with_output.last_output = ReadTail(log);
    ended(with_output);
  };
}

}  // namespace gradwatch::server
