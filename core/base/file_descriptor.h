// A file descriptor that is closed with its owner, and writing all of something to one.
#ifndef GRADWATCH_CORE_BASE_FILE_DESCRIPTOR_H_
#define GRADWATCH_CORE_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/string_view.h"

namespace gradwatch::core {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  // -1: none.
  int get() const { return fd_; }

 private:
  int fd_;
};

// Writes all of `bytes`, also in parts. False: not all of it was written, errno says why.
inline bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR) return false;
    bytes.remove_prefix(count < 0 ? 0 : static_cast<size_t>(count));
  }
  return true;
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_FILE_DESCRIPTOR_H_
