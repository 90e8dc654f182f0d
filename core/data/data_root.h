// The folders below which data files may lie; nothing outside them is ever opened.
#ifndef GRADWATCH_CORE_DATA_DATA_ROOT_H_
#define GRADWATCH_CORE_DATA_DATA_ROOT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/data_file.h"

namespace gradwatch::core {

// A data file, also one that was compressed, is at most this large.
inline constexpr int64_t kMaxDataFileBytes = int64_t{1} << 30;

// Thread-safe, immutable.
class DataRoots {
 public:
  DataRoots() = default;
  // `folders` are absolute or relative to the working folder; they must exist. NOT_FOUND otherwise.
  static absl::StatusOr<DataRoots> Create(const std::vector<std::string>& folders);

  // The absolute folders.
  const std::vector<std::string>& folders() const { return folders_; }

  // Opens a regular file of at most `max_bytes`. `path` is absolute below a root, or relative to a root (the first root
  // that has it). Relative links are followed as long as they stay below the root; absolute links are refused.
  // INVALID_ARGUMENT: outside every root, not a regular file, larger than the limit; NOT_FOUND: no such file;
  // PERMISSION_DENIED. Messages name the path.
  absl::StatusOr<std::unique_ptr<DataFile>> Open(absl::string_view path, int64_t max_bytes) const;

 private:
  std::vector<std::string> folders_;
};

// The file of at most kMaxDataFileBytes that a field of a spec names. NOT_FOUND: no such file; INVALID_ARGUMENT:
// everything else. Violations are of `field` and name the file.
absl::StatusOr<std::unique_ptr<DataFile>> OpenDataFile(absl::string_view field, const std::string& path,
                                                       const DataRoots& roots);

// `status` of reading the file at `path`, as a violation of `field`.
absl::Status InDataFile(absl::string_view field, const std::string& path, const absl::Status& status);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_DATA_ROOT_H_
