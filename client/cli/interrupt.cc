#include "client/cli/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "client/cli/exit_code.h"

namespace gradwatch::cli {
namespace {

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

Interrupt::Interrupt(client::Cancellation* cancellation) : cancellation_(cancellation) {
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this] { Run(); });
}

Interrupt::~Interrupt() {
  done_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes it up
  thread_.join();
}

void Interrupt::Run() {
  pthread_setname_np(pthread_self(), "interrupt");
  const sigset_t signals = Signals();
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && !done_) {
    if (cancellation_->cancelled()) _exit(static_cast<int>(ExitCode::kInterrupted));
    cancellation_->Cancel();
  }
}

}  // namespace gradwatch::cli
