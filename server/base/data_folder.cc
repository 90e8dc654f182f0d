#include "server/base/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/base/file_descriptor.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

absl::Status SystemError(absl::string_view path, int error) {
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(error)));
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// What belongs to somebody else stays as it is: the files inside are private by themselves.
void MakePrivate(const std::string& folder) { static_cast<void>(chmod(folder.c_str(), kPrivateFolder)); }

// Makes one folder below one that is there.
absl::Status MakeOne(const std::string& path) {
  if (mkdir(path.c_str(), kPrivateFolder) != 0 && errno != EEXIST) return SystemError(path, errno);
  MakePrivate(path);  // the umask may have taken too much
  GW_RETURN_IF_ERROR(SyncFolder(path));
  return SyncFolder(FolderOf(path));
}

// Makes what is missing of a path.
absl::Status MakeMissing(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) return absl::OkStatus();
  if (std::filesystem::exists(status)) return SystemError(path, ENOTDIR);
  if (status.type() != std::filesystem::file_type::not_found) return SystemError(path, error.value());
  GW_RETURN_IF_ERROR(MakeMissing(FolderOf(path)));
  return MakeOne(path);
}

// As MakeFolder, but one that is there stays as it is.
absl::Status MakePath(const std::string& path) {
  std::string trimmed = path;  // a slash at the end would make the folder its own parent
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const absl::Status status = MakeMissing(trimmed);
  if (status.ok()) return status;
  return absl::UnavailableError(absl::StrCat("cannot make the folder ", path, ": ", status.message()));
}

// Somebody may have pointed us to a folder of his own; that one stays as it is.
bool IsOurs(const std::string& folder) {
  struct stat info = {};
  if (stat(folder.c_str(), &info) != 0 || (info.st_mode & S_ISVTX) != 0) return false;
  std::error_code ignored;
  return std::filesystem::is_empty(folder, ignored) || std::filesystem::exists(folder + "/lock", ignored);
}

// A new file with this content and mode, on the disk.
absl::Status WriteFile(const std::string& path, absl::string_view content, mode_t mode) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kPrivateFile);
  if (file < 0) return SystemError(path, errno);
  const absl::Cleanup closer = [file] { close(file); };
  if (!core::WriteAll(file, content)) return SystemError(path, errno);
  if (fchmod(file, mode) != 0 || fsync(file) != 0) return SystemError(path, errno);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Lock(const std::string& path) {
  GW_RETURN_IF_ERROR(MakePath(path));
  if (IsOurs(path)) MakePrivate(path);
  const std::string file = absl::StrCat(path, "/lock");
  const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kPrivateFile);
  if (lock < 0) return SystemError(file, errno);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(lock);
    if (error != EWOULDBLOCK) return SystemError(file, error);
    return absl::FailedPreconditionError(absl::StrCat("another server works on the data folder ", path));
  }
  static_cast<void>(fchmod(lock, kPrivateFile));
  return std::unique_ptr<DataFolder>(new DataFolder(path, lock));
}

DataFolder::~DataFolder() { close(lock_); }

std::string DataFolder::File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

absl::Status MakeFolder(const std::string& path) {
  GW_RETURN_IF_ERROR(MakePath(path));
  MakePrivate(path);
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return SystemError(path, errno);
  const absl::Cleanup closer = [folder] { close(folder); };
  // Some network file systems have no such thing; what they do instead has to be enough.
  if (fsync(folder) != 0 && errno != EINVAL && errno != ENOTSUP) return SystemError(path, errno);
  return absl::OkStatus();
}

absl::Status ReplaceFile(const std::string& path, absl::string_view content, mode_t mode) {
  const std::string part = absl::StrCat(path, ".", getpid(), ".tmp");
  absl::Status status = WriteFile(part, content, mode);
  if (status.ok() && std::rename(part.c_str(), path.c_str()) != 0) status = SystemError(path, errno);
  if (!status.ok()) {
    std::remove(part.c_str());
    return status;
  }
  return SyncFolder(FolderOf(path));
}

}  // namespace gradwatch::server
