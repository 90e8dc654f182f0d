#include "server/job/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::core::FileDescriptor;

// Above all numbers that a child may be handed; the descriptors of StartChild are moved in order, so none may be in the
// place of an earlier one.
constexpr int kOutOfTheWay = 16;

// The table of descriptors or processes may be full for a while; nothing here is a fault of what was asked for.
absl::Status StartError(int error, absl::string_view what) {
  const std::string text = absl::StrCat(what, ": ", std::generic_category().message(error));
  const bool full = error == EMFILE || error == ENFILE || error == EAGAIN || error == ENOMEM;
  return full ? absl::ResourceExhaustedError(text) : absl::UnavailableError(text);
}

absl::StatusOr<FileDescriptor> OutOfTheWay(int fd, absl::string_view what) {
  FileDescriptor opened(fd);
  if (fd < 0) return StartError(errno, what);
  if (fd >= kOutOfTheWay) return opened;
  FileDescriptor moved(fcntl(fd, F_DUPFD_CLOEXEC, kOutOfTheWay));
  if (moved.get() < 0) return StartError(errno, what);
  return moved;
}

// The form of arguments that exec wants. Points into `texts`.
std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void SetAttributes(posix_spawnattr_t* attributes) {
  sigset_t hang_up, all;
  sigemptyset(&hang_up);
  sigaddset(&hang_up, SIGHUP);
  sigfillset(&all);
  // Of a group whose last parent goes, the kernel hangs up on the processes that are stopped.
  posix_spawnattr_setsigmask(attributes, &hang_up);
  posix_spawnattr_setsigdefault(attributes, &all);
  // Not a session: where the kernel shares the processors out among sessions first, a child with one of its own would
  // never give way to this process, however nice it is.
  posix_spawnattr_setpgroup(attributes, 0);
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

void GiveWay(pid_t pid, int nice) {
  // Its group is its own: all threads that it may have begun already are in it.
  const int level = std::min(getpriority(PRIO_PROCESS, 0) + nice, 19);
  (void)setpriority(PRIO_PGRP, static_cast<id_t>(pid), level);
}

}  // namespace

absl::StatusOr<int32_t> StartChild(const ChildProcess& child) {
  std::vector<std::string> arguments = {child.program};
  arguments.insert(arguments.end(), child.arguments.begin(), child.arguments.end());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const absl::Cleanup destroy = [&] {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  };
  SetAttributes(&attributes);
  int number = 0;
  for (const FileDescriptor* descriptor : child.descriptors) {
    posix_spawn_file_actions_adddup2(&actions, descriptor->get(), number++);
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, number);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, child.program.c_str(), &actions, &attributes, Pointers(arguments).data(), environ);
  if (error != 0) return StartError(error, child.program);
  const rlimit no_core = {0, 0};  // it would hold a whole model
  prlimit(pid, RLIMIT_CORE, &no_core, nullptr);
  if (child.nice > 0) GiveWay(pid, child.nice);
  return pid;
}

absl::StatusOr<FileDescriptor> OpenForChild(const std::string& path, int flags, int mode) {
  return OutOfTheWay(open(path.c_str(), flags | O_CLOEXEC, mode), path);
}

absl::StatusOr<FileDescriptor> TextForChild(const std::string& text) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return StartError(errno, "a pipe");
  const FileDescriptor write_end(ends[1]);
  GW_ASSIGN_OR_RETURN(FileDescriptor read_end, OutOfTheWay(ends[0], "a pipe"));
  // An empty pipe takes a page at once.
  const ssize_t written = write(write_end.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) return StartError(written < 0 ? errno : EMSGSIZE, "a pipe");
  // The child waits for nothing: all that will ever come is there.
  fcntl(read_end.get(), F_SETFL, 0);
  return read_end;
}

absl::StatusOr<FileDescriptor> MemoryForChild(const std::string& name) {
  return OutOfTheWay(memfd_create(name.c_str(), MFD_CLOEXEC), "memory for a child");
}

}  // namespace gradwatch::server
