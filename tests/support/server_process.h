// A gradwatchd of this build that is driven from outside: started, killed, and started again on the same data and port.
#ifndef GRADWATCH_TESTS_SUPPORT_SERVER_PROCESS_H_
#define GRADWATCH_TESTS_SUPPORT_SERVER_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/long_wait.h"
#include "tests/support/process.h"

namespace gradwatch::testing {

// Not thread-safe. When it goes out of scope the server is killed, and every worker that belongs to it: none outlives a
// test, however that ends.
class ServerProcess {
 public:
  struct Options {
    std::vector<std::string> arguments;  // besides data folder, address and port file
    std::vector<std::string> prefix;     // what runs the server, for example a shell that lowers a limit and execs
    std::vector<std::string> environment;
  };
  // Keeps data, port file and what tells them in `folder`, which must be there.
  explicit ServerProcess(std::string folder, Options options = {});
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Starts it on a free port, or again on the one that it had. False: it ended, or was not ready in time; see Errors().
  bool Start() {
    Launch();
    return AwaitReady();
  }
  // The same in two parts, for what happens to a server that is not ready yet.
  void Launch();
  bool AwaitReady(absl::Duration timeout = kLongWait);

  // kill -9, and reaped.
  void Kill();
  // SIGTERM: the exit code, minus the signal that ended it, or nothing if it is still there.
  std::optional<int> Terminate(absl::Duration timeout = kLongWait);
  bool alive() const;

  const std::string& address() const { return address_; }  // empty before the first start
  int port() const;
  pid_t pid() const { return process_->pid(); }
  std::string data_file(const std::string& name) const { return folder_ + "/data/" + name; }
  // What it wrote to standard error since the last start.
  std::string Errors() const { return process_ == nullptr ? "" : process_->Errors(); }

  // Processes that attach to this server as trainers, adopted ones too; of one job if it is named.
  std::vector<pid_t> Workers(const std::string& job_id = "") const;

 private:
  const std::string folder_;
  const Options options_;
  std::string address_;
  std::unique_ptr<Process> process_;
};

// What the system says of a process. 0: it is not there.
int64_t ResidentBytes(pid_t pid);
int64_t PeakResidentBytes(pid_t pid);
// Processor time of all its threads so far.
absl::Duration ProcessorTime(pid_t pid);
// Keeps all threads of a process on one processor; those that it starts later, too.
void PinToProcessor(pid_t pid, int processor);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_SERVER_PROCESS_H_
