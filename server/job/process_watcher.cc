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

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

ProcessWatcher::ProcessWatcher() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this] {
    core::NameThisThread("reaper");
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

absl::Status ProcessWatcher::WatchChild(int32_t pid, Ended ended) {
  FileDescriptor descriptor(OpenProcess(pid));
  if (descriptor.get() < 0) return absl::ErrnoToStatus(errno, absl::StrCat("process ", pid));
  Add(pid, /*is_child=*/true, std::move(descriptor), std::move(ended));
  return absl::OkStatus();
}

absl::Status ProcessWatcher::WatchOther(int32_t pid, absl::FunctionRef<bool()> is_it, Ended ended) {
  FileDescriptor descriptor(OpenProcess(pid));
  if (descriptor.get() < 0 || !is_it()) return absl::NotFoundError(absl::StrCat("process ", pid, " is not there"));
  Add(pid, /*is_child=*/false, std::move(descriptor), std::move(ended));
  return absl::OkStatus();
}

void ProcessWatcher::Add(int32_t pid, bool is_child, FileDescriptor descriptor, Ended ended) {
  auto watched = std::make_shared<Watched>();
  watched->pid = pid;
  watched->is_child = is_child;
  watched->descriptor = std::move(descriptor);
  watched->ended = std::move(ended);
  {
    absl::MutexLock lock(&mutex_);
    watched_[pid] = std::move(watched);
  }
  Notify(wake_.get());
}

void ProcessWatcher::Kill(int32_t pid) {
  absl::MutexLock lock(&mutex_);
  const auto found = watched_.find(pid);
  if (found == watched_.end()) return;
  // A child keeps its number, and that of its group, until it is reaped, which takes it out of the map first.
  if (found->second->is_child) kill(-pid, SIGKILL);
  SignalProcess(found->second->descriptor.get(), SIGKILL);
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
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [pid, process] : watched_) {
      watched.push_back(process);
      polled.push_back({.fd = process->descriptor.get(), .events = POLLIN, .revents = 0});
    }
  }
  poll(polled.data(), polled.size(), -1);
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t read_bytes = read(wake_.get(), &count, sizeof count);
  std::vector<int32_t> ended;
  for (size_t i = 0; i < watched.size(); ++i) {
    if (polled[i + 1].revents != 0) ended.push_back(watched[i]->pid);
  }
  return ended;
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
