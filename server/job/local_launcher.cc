#include "server/job/local_launcher.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"
#include "server/job/child_process.h"

namespace gradwatch::server {
namespace {

// What is read back of a log; enough for the last few lines.
constexpr std::streamoff kOutputTail = 4096;
// The server comes first, whatever trainers do.
constexpr int kWorkerNice = 10;
constexpr absl::string_view kHandlePrefix = "process ";

// Nothing: the handle is none of ours.
std::optional<int32_t> PidOf(absl::string_view handle) {
  int32_t pid = 0;
  if (!absl::ConsumePrefix(&handle, kHandlePrefix) || !absl::SimpleAtoi(handle, &pid) || pid <= 0) return std::nullopt;
  return pid;
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

// Nothing: no file can be opened now.
std::optional<bool> CommandLineNames(int32_t pid, const std::string& job_id) {
  errno = 0;
  std::ifstream file(absl::StrCat("/proc/", pid, "/cmdline"), std::ios::binary);
  if (!file && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) return std::nullopt;
  std::ostringstream line;
  line << file.rdbuf();  // throws nothing when the process goes meanwhile
  const std::string argument = absl::StrCat(std::string(1, '\0'), job_id, std::string(1, '\0'));
  return absl::StrContains(line.str(), argument);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalLauncher>> LocalLauncher::Create(LocalLauncherOptions options) {
  std::error_code error;
  if (std::filesystem::is_directory(options.program, error) || access(options.program.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("worker ", options.program, ": no program that may be run"));
  }
  GW_RETURN_IF_ERROR(MakeFolder(options.log_folder));  // logs quote specs and data, which are nobody else's business
  if (!options.words_folder.empty()) GW_RETURN_IF_ERROR(MakeFolder(options.words_folder));
  return std::unique_ptr<LocalLauncher>(new LocalLauncher(std::move(options)));
}

void LocalLauncher::SetServerAddress(std::string address) {
  absl::MutexLock lock(&mutex_);
  server_address_ = std::move(address);
}

absl::StatusOr<std::string> LocalLauncher::Launch(const LaunchRequest& request,
                                                  absl::AnyInvocable<void(const ProcessEnd&)> ended) {
  GW_ASSIGN_OR_RETURN(const int32_t pid, Spawn(request));
  // Until it is reaped, which only the watcher does, the process keeps its number, however soon it ends.
  watcher_.WatchChild(pid, WithOutput(request, std::move(ended)));
  return absl::StrCat(kHandlePrefix, pid);
}

absl::StatusOr<int32_t> LocalLauncher::Spawn(const LaunchRequest& request) const {
  GW_ASSIGN_OR_RETURN(const core::FileDescriptor nothing, OpenForChild("/dev/null", O_RDWR));
  GW_ASSIGN_OR_RETURN(const core::FileDescriptor log,
                      OpenForChild(LogFile(request.uid, request.attempt), O_WRONLY | O_CREAT | O_APPEND, 0600));
  GW_ASSIGN_OR_RETURN(const core::FileDescriptor token, TextForChild(request.attach_token));
  ChildProcess worker = {.program = options_.program,
                         .arguments = options_.prefix,
                         .descriptors = {&nothing, &nothing, &log, &token},
                         .nice = kWorkerNice};
  worker.arguments.insert(worker.arguments.end(), {"attach", "--server", server_address(), "--job", request.job_id,
                                                   "--attempt", absl::StrCat(request.attempt), "--token-fd", "3"});
  if (!options_.words_folder.empty()) {
    const std::string file = LastWordsFile(options_.words_folder, request.uid, request.attempt);
    worker.arguments.insert(worker.arguments.end(), {"--last-words", file});
  }
  return StartChild(worker);
}

std::string LocalLauncher::server_address() const {
  absl::MutexLock lock(&mutex_);
  return server_address_;
}

void LocalLauncher::Adopt(const std::string& handle, const LaunchRequest& request,
                          absl::AnyInvocable<void(const ProcessEnd&)> ended) {
  auto callback = std::make_shared<absl::AnyInvocable<void(const ProcessEnd&)>>(WithOutput(request, std::move(ended)));
  if (const std::optional<int32_t> pid = PidOf(handle); pid.has_value()) {
    const absl::Status watched = watcher_.WatchOther(
        *pid, [pid = *pid, job_id = request.job_id] { return CommandLineNames(pid, job_id); },
        [callback](const ProcessEnd& end) { (*callback)(end); });
    if (watched.ok()) return;
  }
  ProcessEnd end;
  end.unknown = true;
  (*callback)(end);
}

void LocalLauncher::Kill(const std::string& handle) {
  if (const std::optional<int32_t> pid = PidOf(handle); pid.has_value()) watcher_.Kill(*pid);
}

void LocalLauncher::RemoveOutput(const std::string& uid, int32_t attempts) {
  std::error_code ignored;
  for (int32_t attempt = 1; attempt <= attempts; ++attempt) {
    std::filesystem::remove(LogFile(uid, attempt), ignored);
    if (options_.words_folder.empty()) continue;
    const std::string words = LastWordsFile(options_.words_folder, uid, attempt);
    for (const std::string& file : {words, words + ".part"}) std::filesystem::remove(file, ignored);
  }
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
