#include "core/data/data_root.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
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

absl::StatusOr<std::unique_ptr<DataFile>> DataRoots::Open(absl::string_view path, int64_t max_bytes) const {
  if (path.empty() || absl::StrContains(path, '\0')) return absl::InvalidArgumentError("not a path");
  bool below_a_root = false;
  for (const std::string& folder : folders_) {
    const std::optional<std::string> relative = RelativeTo(folder, path);
    if (!relative.has_value()) continue;
    below_a_root = true;
    absl::StatusOr<FileDescriptor> opened = OpenBeneath(folder, *relative);
    if (absl::IsNotFound(opened.status())) continue;  // perhaps below the next root
    if (!opened.ok()) return NamingPath(path, opened.status());
    absl::StatusOr<std::unique_ptr<DataFile>> file = DataFile::Create(*std::move(opened), max_bytes);
    if (!file.ok()) return NamingPath(path, file.status());
    return file;
  }
  if (below_a_root) return absl::NotFoundError(absl::StrCat(path, ": no such file below the data roots"));
  return absl::InvalidArgumentError(absl::StrCat(path, ": not below a data root"));
}

absl::StatusOr<std::unique_ptr<DataFile>> OpenDataFile(absl::string_view field, const std::string& path,
                                                       const DataRoots& roots) {
  if (path.empty()) return InvalidField(field, "required");
  absl::StatusOr<std::unique_ptr<DataFile>> file = roots.Open(path, kMaxDataFileBytes);
  if (file.ok()) return file;
  if (absl::IsNotFound(file.status())) return WithFieldPrefix(field, file.status());
  return InvalidField(field, file.status().message());
}

absl::Status InDataFile(absl::string_view field, const std::string& path, const absl::Status& status) {
  return InvalidField(field, absl::StrCat(path, ": ", status.message()));
}

}  // namespace gradwatch::core
