#include "core/data/data_root.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/data/open_beneath.h"

namespace gradwatch::core {
namespace {

// `path` relative to `folder`; nothing if it is absolute and elsewhere. ".." is left to OpenBeneath.
std::optional<std::string> RelativeTo(absl::string_view folder, absl::string_view path) {
  if (!absl::StartsWith(path, "/")) return std::string(path);
  const std::string prefix = folder == "/" ? "/" : absl::StrCat(folder, "/");
  if (!absl::StartsWith(path, prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  while (absl::StartsWith(path, "/")) path.remove_prefix(1);
  return std::string(path);
}

absl::StatusOr<int64_t> RegularFileSize(int fd, int64_t max_bytes) {
  struct stat info;
  if (fstat(fd, &info) != 0) return absl::InvalidArgumentError(std::generic_category().message(errno));
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("not a regular file");
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(info.st_size, " bytes, more than the limit of ", max_bytes));
  }
  return info.st_size;
}

// Reads to the end; the file may grow meanwhile, so the limit holds here too.
absl::StatusOr<std::string> ReadAll(int fd, int64_t max_bytes) {
  GW_ASSIGN_OR_RETURN(const int64_t expected, RegularFileSize(fd, max_bytes));
  std::string content(expected + 1, '\0');  // one more, to see the end in one round
  int64_t size = 0;
  for (;;) {
    const ssize_t count = read(fd, content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::InvalidArgumentError(std::generic_category().message(errno));
    if (count == 0) break;
    size += count;
    if (size > max_bytes)
      return absl::InvalidArgumentError(absl::StrCat("more than the limit of ", max_bytes, " bytes"));
    if (size == static_cast<int64_t>(content.size())) content.resize(size + 4096);
  }
  content.resize(size);
  return content;
}

absl::Status NamingPath(absl::string_view path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<DataRoots> DataRoots::Create(const std::vector<std::string>& folders) {
  DataRoots roots;
  for (const std::string& folder : folders) {
    std::error_code error;
    const auto absolute = std::filesystem::absolute(folder, error).lexically_normal();
    if (error || !std::filesystem::is_directory(absolute, error)) {
      return absl::NotFoundError(absl::StrCat("data root ", folder, ": no such folder"));
    }
    std::string path = absolute.string();
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    roots.folders_.push_back(std::move(path));
  }
  return roots;
}

absl::StatusOr<std::string> DataRoots::Read(absl::string_view path, int64_t max_bytes) const {
  if (path.empty() || absl::StrContains(path, '\0')) return absl::InvalidArgumentError("not a path");
  bool below_a_root = false;
  for (const std::string& folder : folders_) {
    const std::optional<std::string> relative = RelativeTo(folder, path);
    if (!relative.has_value()) continue;
    below_a_root = true;
    const absl::StatusOr<FileDescriptor> file = OpenBeneath(folder, *relative);
    if (absl::IsNotFound(file.status())) continue;  // perhaps below the next root
    if (!file.ok()) return NamingPath(path, file.status());
    absl::StatusOr<std::string> content = ReadAll(file->get(), max_bytes);
    if (!content.ok()) return NamingPath(path, content.status());
    return content;
  }
  if (below_a_root) return absl::NotFoundError(absl::StrCat(path, ": no such file below the data roots"));
  return absl::InvalidArgumentError(absl::StrCat(path, ": not below a data root"));
}

}  // namespace gradwatch::core
