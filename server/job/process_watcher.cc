#include "server/job/process_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/thread_name.h"

namespace gradwatch::server {
namespace {

constexpr int kLookEveryMs = 1000;

// Debian's glibc has no wrapper for these two with every supported set of headers.
int OpenProcess(int32_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }
int SignalProcess(int descriptor, int signal) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, descriptor, signal, nullptr, 0));
}

void Notify(int event_descriptor) {
  const uint64_t one = 1;
  // The counter cannot overflow, so the write cannot fail but by a signal, of which this process handles none.
  [[maybe_unused]] const ssize_t written = write(event_descriptor, &one, sizeof one);
}

// Of an attempt to open a process: it is not there, rather than that there was nothing to open it with.
bool IsNoProcess(int error) { return error == ESRCH || error == EINVAL; }

// Leaves a child to be reaped.
bool HasEnded(int32_t pid) {
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

ProcessEnd Reap(int32_t pid) {
  ProcessEnd end;
  siginfo_t info = {};
  int result = 0;
  do {
    result = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    end.unknown = true;
  } else if (info.si_code == CLD_EXITED) {
    end.exit_code = info.si_status;
  } else {
    end.signal = info.si_status;
  }
  return end;
}

}  // namespace

ProcessWatcher::ProcessWatcher(const char* name) : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this, name] {
    core::NameThisThread(name);
    Work();
  });
}

ProcessWatcher::~ProcessWatcher() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  Notify(wake_.get());
  thread_.join();
}

void ProcessWatcher::WatchChild(int32_t pid, Ended ended) {
  auto watched = std::make_shared<Watched>();
  watched->pid = pid;
  watched->is_child = true;
  watched->descriptor = core::FileDescriptor(OpenProcess(pid));
  watched->ended = std::move(ended);
  Add(std::move(watched));
}

absl::Status ProcessWatcher::WatchOther(int32_t pid, IsIt is_it, Ended ended) {
  auto watched = std::make_shared<Watched>();
  watched->pid = pid;
  core::FileDescriptor descriptor(OpenProcess(pid));
  const bool is_there = descriptor.get() >= 0 || !IsNoProcess(errno);
  const std::optional<bool> known = is_there ? is_it() : false;
  if (known.has_value() && !*known) return absl::NotFoundError(absl::StrCat("process ", pid, " is not there"));
  if (descriptor.get() >= 0 && known.has_value()) {
    watched->descriptor = std::move(descriptor);
  } else {
    watched->is_it = std::move(is_it);
  }
  watched->ended = std::move(ended);
  Add(std::move(watched));
  return absl::OkStatus();
}

void ProcessWatcher::Add(std::shared_ptr<Watched> watched) {
  {
    absl::MutexLock lock(&mutex_);
    watched_[watched->pid] = std::move(watched);
  }
  Notify(wake_.get());
}

void ProcessWatcher::Kill(int32_t pid) {
  absl::MutexLock lock(&mutex_);
  const auto found = watched_.find(pid);
  if (found == watched_.end()) return;
  Watched& watched = *found->second;
  // A child keeps its number, and that of its group, until it is reaped, which takes it out of the map first.
  if (watched.is_child) {
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
  } else if (watched.descriptor.get() >= 0) {
    SignalProcess(watched.descriptor.get(), SIGKILL);
  } else {
    watched.to_be_killed = true;
  }
}

void ProcessWatcher::Work() {
  for (;;) {
    for (const int32_t pid : Wait()) Finish(pid);
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
  }
}

std::vector<int32_t> ProcessWatcher::Wait() {
  std::vector<pollfd> polled = {{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  std::vector<std::shared_ptr<Watched>> watched;
  int timeout = -1;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [pid, process] : watched_) {
      watched.push_back(process);
      polled.push_back({.fd = process->descriptor.get(), .events = POLLIN, .revents = 0});  // -1 is passed over
      if (process->descriptor.get() < 0) timeout = kLookEveryMs;
    }
  }
  poll(polled.data(), polled.size(), timeout);
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t read_bytes = read(wake_.get(), &count, sizeof count);
  std::vector<int32_t> ended;
  for (size_t i = 0; i < watched.size(); ++i) {
    const bool has_ended = polled[i + 1].fd >= 0 ? polled[i + 1].revents != 0 : LookAfter(*watched[i]);
    if (has_ended) ended.push_back(watched[i]->pid);
  }
  return ended;
}

bool ProcessWatcher::LookAfter(Watched& watched) {
  if (watched.is_child) return HasEnded(watched.pid);
  core::FileDescriptor descriptor(OpenProcess(watched.pid));
  if (descriptor.get() < 0) return IsNoProcess(errno);
  const std::optional<bool> known = watched.is_it();
  if (!known.has_value()) return false;
  if (!*known) return true;
  absl::MutexLock lock(&mutex_);
  watched.descriptor = std::move(descriptor);
  if (watched.to_be_killed) SignalProcess(watched.descriptor.get(), SIGKILL);
  return false;
}

void ProcessWatcher::Finish(int32_t pid) {
  std::shared_ptr<Watched> watched;
  {
    absl::MutexLock lock(&mutex_);
    watched = std::move(watched_[pid]);
    watched_.erase(pid);
  }
  ProcessEnd end;
  if (watched->is_child) {
    end = Reap(pid);
  } else {
    end.unknown = true;
  }
  watched->ended(end);
}

}  // namespace gradwatch::server
