// Signals as calls on a thread, where everything is allowed, instead of handlers, where almost nothing is.
#ifndef GRADWATCH_CLIENT_WORKER_SIGNAL_WATCH_H_
#define GRADWATCH_CLIENT_WORKER_SIGNAL_WATCH_H_

#include <signal.h>

#include <atomic>
#include <functional>
#include <initializer_list>
#include <thread>

namespace gradwatch::worker {

// Blocks signals in the calling thread and in those that it will start; call before the first thread starts.
sigset_t BlockSignals(std::initializer_list<int> signals);

class SignalWatch {
 public:
  // Calls `on_signal` on a thread of its own for each of `signals`, of which there must be one and which must be
  // blocked everywhere.
  SignalWatch(sigset_t signals, std::function<void()> on_signal);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  void Run();

  const sigset_t signals_;
  const int wake_signal_;  // one of them
  const std::function<void()> on_signal_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_SIGNAL_WATCH_H_
