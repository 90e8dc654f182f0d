// Starts a program as a child that has nothing of the server but what it is handed.
#ifndef GRADWATCH_SERVER_JOB_CHILD_PROCESS_H_
#define GRADWATCH_SERVER_JOB_CHILD_PROCESS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/file_descriptor.h"

namespace gradwatch::server {

struct ChildProcess {
  std::string program;                 // a path
  std::vector<std::string> arguments;  // without the program
  // What its descriptors 0, 1, 2 and so on are; none is taken from the caller. Everything else is closed in the child.
  std::vector<const core::FileDescriptor*> descriptors;
  // What it is nicer than this process, from 0 to 19.
  int nice = 0;
};

// Starts it with this process's environment, in a process group of its own, with no signal ignored, none blocked but
// SIGHUP, and no core file; its process id. The caller must reap it. UNAVAILABLE or RESOURCE_EXHAUSTED, naming the
// program: it could not be started.
absl::StatusOr<int32_t> StartChild(const ChildProcess& child);

// An open file, numbered so that it is in nobody's way in StartChild; `flags` and `mode` as of open(2), which is given
// O_CLOEXEC. The same errors.
absl::StatusOr<core::FileDescriptor> OpenForChild(const std::string& path, int flags, int mode = 0);

// A pipe from which a child can read `text`, at most 4,096 bytes; nobody can write to it any more. The same errors.
absl::StatusOr<core::FileDescriptor> TextForChild(const std::string& text);

// A file without a name, of this process and the child. The same errors.
absl::StatusOr<core::FileDescriptor> MemoryForChild(const std::string& name);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_CHILD_PROCESS_H_
