#include "core/data/open_beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "absl/strings/match.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

// O_NONBLOCK: opening a named pipe must not wait for its writer. Regular files do not care.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

absl::Status OpenError(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError("no such file");
    case EXDEV:
      return absl::InvalidArgumentError("leads out of the data roots");
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError("reading it is not permitted");
    default:
      return absl::InvalidArgumentError(std::generic_category().message(error));
  }
}

absl::StatusOr<std::string> CanonicalPath(const std::string& path) {
  char* const resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return OpenError(errno);
  std::string canonical = resolved;
  free(resolved);
  return canonical;
}

}  // namespace

absl::StatusOr<FileDescriptor> OpenBeneath(const std::string& folder, const std::string& path) {
  const FileDescriptor root(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.get() < 0) return OpenError(errno);
  open_how how = {};
  how.flags = kOpenFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: something was renamed while the kernel walked the path.
  int fd = -1;
  for (int attempt = 0; attempt < 10; ++attempt) {
    fd = static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof(how)));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  if (fd >= 0) return FileDescriptor(fd);
  // Old container runtimes answer EPERM to system calls that they do not know.
  if (errno == ENOSYS || errno == EPERM) return OpenBeneathByCanonicalPath(folder, path);
  return OpenError(errno);
}

absl::StatusOr<FileDescriptor> OpenBeneathByCanonicalPath(const std::string& folder, const std::string& path) {
  GW_ASSIGN_OR_RETURN(const std::string root, CanonicalPath(folder));
  GW_ASSIGN_OR_RETURN(const std::string file, CanonicalPath(root + "/" + path));
  if (file != root && root != "/" && !absl::StartsWith(file, root + "/")) return OpenError(EXDEV);
  const int fd = open(file.c_str(), kOpenFlags | O_NOFOLLOW);
  if (fd < 0) return OpenError(errno);
  return FileDescriptor(fd);
}

}  // namespace gradwatch::core
