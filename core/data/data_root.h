// The folders below which data files may lie; nothing outside them is ever opened.
#ifndef GRADWATCH_CORE_DATA_DATA_ROOT_H_
#define GRADWATCH_CORE_DATA_DATA_ROOT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::core {

// Thread-safe, immutable.
class DataRoots {
 public:
  DataRoots() = default;
  // `folders` are absolute or relative to the working folder; they must exist. NOT_FOUND otherwise.
  static absl::StatusOr<DataRoots> Create(const std::vector<std::string>& folders);

  // The absolute folders.
  const std::vector<std::string>& folders() const { return folders_; }

  // The bytes of a regular file of at most `max_bytes`. `path` is absolute below a root, or relative to a root (the
  // first root that has it). Relative links are followed as long as they stay below the root;
  // absolute links are refused.
  // INVALID_ARGUMENT: outside every root, not a regular file, larger than the limit; NOT_FOUND: no such file;
  // PERMISSION_DENIED. Messages name the path.
  absl::StatusOr<std::string> Read(absl::string_view path, int64_t max_bytes) const;

 private:
  std::vector<std::string> folders_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_DATA_ROOT_H_
