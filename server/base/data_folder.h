// The folder that holds all that the server keeps; one server at a time works on it.
#ifndef GRADWATCH_SERVER_BASE_DATA_FOLDER_H_
#define GRADWATCH_SERVER_BASE_DATA_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {

// Holds a lock on the folder while it lives; the lock ends with the process, however that ends.
class DataFolder {
 public:
  // Makes the folder if it is not there. FAILED_PRECONDITION: another server works on it; UNAVAILABLE: it cannot be
  // made or written.
  static absl::StatusOr<std::unique_ptr<DataFolder>> Lock(const std::string& path);
  ~DataFolder();
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  // The path of `name` inside.
  std::string File(absl::string_view name) const;

 private:
  DataFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  const std::string path_;
  const int lock_;  // descriptor of the locked file
};

// Makes a folder, and those above it. UNAVAILABLE, naming it.
absl::Status MakeFolder(const std::string& path);

// Replaces a file as a whole: whoever reads it sees the old content or the new, never a part.
absl::Status ReplaceFile(const std::string& path, absl::string_view content);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_DATA_FOLDER_H_
