#include "core/data/data_file.h"

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/data/data_source.h"

namespace gradwatch::core {

absl::StatusOr<std::string> ReadDataFile(absl::string_view field, const std::string& path, const DataRoots& roots) {
  if (path.empty()) return InvalidField(field, "required");
  absl::StatusOr<std::string> content = roots.Read(path, kMaxDataFileBytes);
  if (content.ok()) return content;
  if (absl::IsNotFound(content.status())) return WithFieldPrefix(field, content.status());
  return InvalidField(field, content.status().message());
}

absl::Status InDataFile(absl::string_view field, const std::string& path, const absl::Status& status) {
  return InvalidField(field, absl::StrCat(path, ": ", status.message()));
}

}  // namespace gradwatch::core
