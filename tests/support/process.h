// Runs our programs as their users do, and waits for what they say without sleeping.
#ifndef GRADWATCH_TESTS_SUPPORT_PROCESS_H_
#define GRADWATCH_TESTS_SUPPORT_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/long_wait.h"

namespace gradwatch::testing {

// A running program. Killed and reaped when it goes out of scope. Not thread-safe.
class Process {
 public:
  // `arguments[0]` is a path, or the name of one of our programs (then the one of this build). `environment` entries
  // "NAME=value" are added to this process's. Standard input is empty. Aborts the test program if it cannot start.
  explicit Process(std::vector<std::string> arguments, std::vector<std::string> environment = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // The next line of standard output without its end; nothing when it has ended or no line came in time.
  std::optional<std::string> ReadLine(absl::Duration timeout = kLongWait);
  // Reads lines until one contains `text` and returns it; nothing as above.
  std::optional<std::string> ReadUntil(const std::string& text, absl::Duration timeout = kLongWait);
  // Bytes that it has written and nobody has read.
  int unread() const;
  void Signal(int signal);
  // Waits for the end: the exit code, or minus the signal that killed it; nothing if it did not end in time.
  std::optional<int> Wait(absl::Duration timeout = kLongWait);
  // What it wrote to standard error so far.
  std::string Errors() const;

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  int pidfd_ = -1;
  std::string errors_path_;
  std::string buffer_;
  std::optional<int> exit_;
};

// How a program ended and what it said.
struct RunResult {
  int exit_code = 0;
  std::string out;
  std::string err;
};

// Runs a program to its end.
RunResult Run(std::vector<std::string> arguments, std::vector<std::string> environment = {});

// Waits until a file is there (written and renamed into place, or closed); false if it did not come in time.
bool WaitForFile(const std::string& path, absl::Duration timeout = kLongWait);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_PROCESS_H_
