#include "server/base/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Lock(const std::string& path) {
  GW_RETURN_IF_ERROR(MakeFolder(path));
  const std::string file = absl::StrCat(path, "/lock");
  const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return absl::UnavailableError(absl::StrCat(file, ": ", std::strerror(errno)));
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const bool taken = errno == EWOULDBLOCK;
    const std::string why = std::strerror(errno);
    close(lock);
    if (taken) {
      return absl::FailedPreconditionError(absl::StrCat("another server works on the data folder ", path));
    }
    return absl::UnavailableError(absl::StrCat(file, ": ", why));
  }
  return std::unique_ptr<DataFolder>(new DataFolder(path, lock));
}

DataFolder::~DataFolder() { close(lock_); }

std::string DataFolder::File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
  return absl::OkStatus();
}

absl::Status ReplaceFile(const std::string& path, absl::string_view content) {
  const std::string part = absl::StrCat(path, ".", getpid(), ".tmp");
  std::ofstream file(part, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file || std::rename(part.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    std::remove(part.c_str());
    return absl::UnavailableError(absl::StrCat(path, ": ", why));
  }
  return absl::OkStatus();
}

}  // namespace gradwatch::server
