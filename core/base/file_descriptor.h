// A file descriptor that is closed with its owner.
#ifndef GRADWATCH_CORE_BASE_FILE_DESCRIPTOR_H_
#define GRADWATCH_CORE_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

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

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_FILE_DESCRIPTOR_H_
