#include "tests/support/server_process.h"

#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace gradwatch::testing {
namespace {

namespace fs = std::filesystem;

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // throws nothing when a process goes meanwhile
  return text.str();
}

bool Contains(const std::vector<std::string>& words, const std::string& word) {
  return word.empty() || std::find(words.begin(), words.end(), word) != words.end();
}

// A line "Name:  123 kB" of /proc/PID/status.
int64_t StatusBytes(pid_t pid, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(ReadAll(absl::StrCat("/proc/", pid, "/status")), '\n')) {
    if (!absl::ConsumePrefix(&line, name)) continue;
    absl::ConsumeSuffix(&line, " kB");
    int64_t kibibytes = 0;
    return absl::SimpleAtoi(line.substr(1), &kibibytes) ? kibibytes * 1024 : 0;
  }
  return 0;
}

}  // namespace

ServerProcess::ServerProcess(std::string folder, Options options)
    : folder_(std::move(folder)), options_(std::move(options)) {}

ServerProcess::~ServerProcess() {
  process_.reset();
  if (address_.empty()) return;
  // A worker that was just being started is found by the next look.
  for (std::vector<pid_t> workers = Workers(); !workers.empty(); workers = Workers()) {
    for (const pid_t worker : workers) kill(worker, SIGKILL);
  }
}

void ServerProcess::Launch() {
  process_.reset();
  fs::remove(folder_ + "/port");
  std::vector<std::string> arguments = options_.prefix;
  arguments.insert(arguments.end(),
                   {GRADWATCH_BINARY_DIR "/bin/gradwatchd", "--data-dir", folder_ + "/data", "--listen",
                    address_.empty() ? "127.0.0.1:0" : address_, "--port-file", folder_ + "/port"});
  arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
  process_ = std::make_unique<Process>(std::move(arguments), options_.environment);
}

bool ServerProcess::AwaitReady(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!WaitForFile(folder_ + "/port", absl::Milliseconds(100))) {
    if (!alive() || absl::Now() > deadline) return false;
  }
  for (absl::string_view line : absl::StrSplit(ReadAll(folder_ + "/port"), '\n')) {
    if (absl::ConsumePrefix(&line, "grpc ")) address_ = std::string(line);
  }
  return !address_.empty();
}

void ServerProcess::Kill() {
  process_->Signal(SIGKILL);
  process_->Wait();
}

std::optional<int> ServerProcess::Terminate(absl::Duration timeout) {
  process_->Signal(SIGTERM);
  return process_->Wait(timeout);
}

bool ServerProcess::alive() const { return process_ != nullptr && !process_->Wait(absl::ZeroDuration()).has_value(); }

int ServerProcess::port() const {
  int port = 0;
  return absl::SimpleAtoi(address_.substr(address_.rfind(':') + 1), &port) ? port : 0;
}

std::vector<pid_t> ServerProcess::Workers(const std::string& job_id) const {
  std::vector<pid_t> workers;
  std::error_code gone;  // processes may end while they are looked at
  for (const auto& entry : fs::directory_iterator("/proc", gone)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    const std::vector<std::string> words = absl::StrSplit(ReadAll(entry.path() / "cmdline"), '\0');
    if (Contains(words, "attach") && Contains(words, address_) && Contains(words, job_id)) workers.push_back(pid);
  }
  return workers;
}

int64_t ResidentBytes(pid_t pid) { return StatusBytes(pid, "VmRSS:"); }
int64_t PeakResidentBytes(pid_t pid) { return StatusBytes(pid, "VmHWM:"); }

absl::Duration ProcessorTime(pid_t pid) {
  const std::string stat = ReadAll(absl::StrCat("/proc/", pid, "/stat"));
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;  // state to cmajflt
  int64_t user = 0, system = 0;
  fields >> user >> system;
  return absl::Seconds(static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

void PinToProcessor(pid_t pid, int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(absl::StrCat("/proc/", pid, "/task"), gone)) {
    pid_t thread = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &thread)) sched_setaffinity(thread, sizeof set, &set);
  }
}

}  // namespace gradwatch::testing
