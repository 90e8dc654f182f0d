// Reads the file that a field of a spec names, with errors that name the field and the file.
#ifndef GRADWATCH_CORE_DATA_DATA_FILE_H_
#define GRADWATCH_CORE_DATA_DATA_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/data_root.h"

namespace gradwatch::core {

// The content of the file at `path`, at most kMaxDataFileBytes. NOT_FOUND: no such file; INVALID_ARGUMENT: everything
// else. Violations are of `field`.
absl::StatusOr<std::string> ReadDataFile(absl::string_view field, const std::string& path, const DataRoots& roots);

// `status` of parsing the file at `path`, as a violation of `field`.
absl::Status InDataFile(absl::string_view field, const std::string& path, const absl::Status& status);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_DATA_FILE_H_
