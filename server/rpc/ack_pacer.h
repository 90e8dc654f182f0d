// Acknowledgements that may wait a little, sent together.
#ifndef GRADWATCH_SERVER_RPC_ACK_PACER_H_
#define GRADWATCH_SERVER_RPC_ACK_PACER_H_

#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gradwatch::server {

// To send one takes longer than to take in the few reports that it is about, where hundreds of trainers send some each
// 20 ms. Thread-safe.
class AckPacer {
 public:
  // How long they wait at most.
  static constexpr absl::Duration kWait = absl::Milliseconds(40);

  AckPacer();
  // What waits is dropped.
  ~AckPacer();
  AckPacer(const AckPacer&) = delete;
  AckPacer& operator=(const AckPacer&) = delete;

  // Runs `send` on a thread of its own, kWait after the first of those that wait came.
  void Later(absl::AnyInvocable<void()> send) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !waiting_.empty(); }

  absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_ACK_PACER_H_
