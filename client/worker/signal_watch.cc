#include "client/worker/signal_watch.h"

#include <pthread.h>

#include <utility>

#include "core/base/thread_name.h"

namespace gradwatch::worker {
namespace {

int AnyOf(const sigset_t& signals) {
  int signal = 1;
  while (sigismember(&signals, signal) != 1) ++signal;
  return signal;
}

}  // namespace

sigset_t BlockSignals(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

SignalWatch::SignalWatch(sigset_t signals, std::function<void()> on_signal)
    : signals_(signals), wake_signal_(AnyOf(signals)), on_signal_(std::move(on_signal)), thread_([this] { Run(); }) {}

SignalWatch::~SignalWatch() {
  done_.store(true);
  pthread_kill(thread_.native_handle(), wake_signal_);
  thread_.join();
}

void SignalWatch::Run() {
  core::NameThisThread("signals");
  int signal = 0;
  while (sigwait(&signals_, &signal) == 0 && !done_.load()) on_signal_();
}

}  // namespace gradwatch::worker
