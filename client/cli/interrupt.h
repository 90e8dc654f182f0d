// Ctrl-C without code in a signal handler: a thread waits for the signals and cancels.
#ifndef GRADWATCH_CLIENT_CLI_INTERRUPT_H_
#define GRADWATCH_CLIENT_CLI_INTERRUPT_H_

#include <atomic>
#include <thread>

#include "client/lib/cancellation.h"

namespace gradwatch::cli {

// Make it before any other thread: it blocks SIGINT and SIGTERM, and threads made later inherit that.
class Interrupt {
 public:
  // The first signal cancels, the second ends the process with exit code 130.
  explicit Interrupt(client::Cancellation* cancellation);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

 private:
  void Run();

  client::Cancellation* const cancellation_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_INTERRUPT_H_
