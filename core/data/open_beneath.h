// Opens files so that no path, "..", or link can lead out of a folder.
#ifndef GRADWATCH_CORE_DATA_OPEN_BENEATH_H_
#define GRADWATCH_CORE_DATA_OPEN_BENEATH_H_

#include <string>

#include "absl/status/statusor.h"
#include "core/base/file_descriptor.h"

namespace gradwatch::core {

// Opens `path`, which is relative to `folder`, for reading. The kernel refuses every step that would leave the folder.
// INVALID_ARGUMENT: the path leads out of the folder; NOT_FOUND; PERMISSION_DENIED. Messages leave the path to the
// caller.
absl::StatusOr<FileDescriptor> OpenBeneath(const std::string& folder, const std::string& path);

// The same for kernels without openat2: compares canonical paths, then opens. A link that changes in between may
// escape.
absl::StatusOr<FileDescriptor> OpenBeneathByCanonicalPath(const std::string& folder, const std::string& path);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_OPEN_BENEATH_H_
