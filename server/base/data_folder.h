// The folder that holds all that the server keeps, private to its user; one server at a time works on it.
#ifndef GRADWATCH_SERVER_BASE_DATA_FOLDER_H_
#define GRADWATCH_SERVER_BASE_DATA_FOLDER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {

// What holds secrets, such as the tokens of trainers, is nobody else's to read, whatever the umask.
inline constexpr mode_t kPrivateFile = 0600;
inline constexpr mode_t kPrivateFolder = 0700;

// Holds a lock on the folder while it lives; the lock ends with the process, however that ends.
class DataFolder {
 public:
  // Makes the folder if it is not there. One that is there and holds nothing, or our lock, is made private.
  // FAILED_PRECONDITION: another server works on it; UNAVAILABLE: it cannot be made or written.
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

// Makes a folder, and those above it, private and durable. One that is there is made private too. UNAVAILABLE, naming
// it.
absl::Status MakeFolder(const std::string& path);

// Makes durable which files the folder has. UNAVAILABLE, naming it.
absl::Status SyncFolder(const std::string& path);

// Replaces a file as a whole: whoever reads it, also after a loss of power, sees the old content or the new, never a
// part. The file has `mode`, whatever the umask.
absl::Status ReplaceFile(const std::string& path, absl::string_view content, mode_t mode);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_DATA_FOLDER_H_
