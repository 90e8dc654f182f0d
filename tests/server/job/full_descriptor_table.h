// Takes all descriptors that this process may have, as a server with too many connections does.
#ifndef GRADWATCH_TESTS_SERVER_JOB_FULL_DESCRIPTOR_TABLE_H_
#define GRADWATCH_TESTS_SERVER_JOB_FULL_DESCRIPTOR_TABLE_H_

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <vector>

namespace gradwatch::server {

class FullDescriptorTable {
 public:
  // All but `left`.
  explicit FullDescriptorTable(int left = 0) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit low = {kLow, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    for (int fd = open("/dev/null", O_RDONLY | O_CLOEXEC); fd >= 0; fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) {
      taken_.push_back(fd);
    }
    for (; left > 0; --left) {
      close(taken_.back());
      taken_.pop_back();
    }
  }
  ~FullDescriptorTable() {
    for (const int fd : taken_) close(fd);
    setrlimit(RLIMIT_NOFILE, &before_);
  }
  FullDescriptorTable(const FullDescriptorTable&) = delete;
  FullDescriptorTable& operator=(const FullDescriptorTable&) = delete;

 private:
  static constexpr rlim_t kLow = 128;

  rlimit before_ = {};
  std::vector<int> taken_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_JOB_FULL_DESCRIPTOR_TABLE_H_
