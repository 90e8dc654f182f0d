// What tests of processes share: how one ended, which there are, and a table of descriptors that is full.
#ifndef GRADWATCH_TESTS_SERVER_JOB_PROCESS_TESTING_H_
#define GRADWATCH_TESTS_SERVER_JOB_PROCESS_TESTING_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/synchronization/notification.h"
#include "server/job/launcher.h"
#include "tests/support/long_wait.h"

namespace gradwatch::server {

// One process and how it ended.
class Ending {
 public:
  absl::AnyInvocable<void(const ProcessEnd&)> Callback() {
    return [this](const ProcessEnd& end) {
      end_ = end;
      ended_.Notify();
    };
  }
  ProcessEnd Await() {
    EXPECT_TRUE(ended_.WaitForNotificationWithTimeout(testing::kLongWait));
    return end_;
  }

 private:
  ProcessEnd end_;
  absl::Notification ended_;
};

// The process ids of this process's children, those included that have ended and that nobody has reaped.
inline std::string Children() {
  std::ostringstream children;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ostringstream own;
    own << std::ifstream(thread.path() / "children").rdbuf();  // throws nothing when a thread goes meanwhile
    children << own.str();
  }
  return children.str();
}

// Takes all descriptors that this process may have, as a server with too many connections does.
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

#endif  // GRADWATCH_TESTS_SERVER_JOB_PROCESS_TESTING_H_
