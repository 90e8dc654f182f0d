// The controls of a running job, as other threads set them and the training loop reads them.
#ifndef GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_
#define GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Controls with their number.
struct ControlSnapshot {
  int64_t revision = 1;
  v1::Controls controls;  // resolved
};

// Thread-safe. The training loop looks at one atomic number a step and takes the lock only when it has changed.
class LiveControls {
 public:
  enum class Command { kRun, kPause, kStop };

  explicit LiveControls(ControlSnapshot initial);

  // Controls to use from step `at_step` (unset: the next step) on. A revision that is not above the last one set is
  // ignored, so messages may come twice.
  void Set(ControlSnapshot snapshot, std::optional<int64_t> at_step);
  // What the loop is to do between two steps. A stop is final.
  void SetCommand(Command command);

  // For the training thread. The controls that hold for `step`; steps must not go back.
  std::shared_ptr<const ControlSnapshot> ForStep(int64_t step);
  // For the training thread. The command now.
  Command command() const { return command_.load(std::memory_order_acquire); }
  // For the training thread. Waits until the command is not kPause and returns it.
  Command AwaitRun();

 private:
  std::atomic<Command> command_{Command::kRun};
  std::atomic<uint64_t> version_{1};                // counts changes of pending_
  uint64_t seen_version_ = 0;                       // training thread only
  std::shared_ptr<const ControlSnapshot> current_;  // training thread only

  absl::Mutex mutex_;
  int64_t last_revision_ ABSL_GUARDED_BY(mutex_);
  // By the first step that is to use them; in the order of revisions. Key -1: at once.
  std::map<int64_t, std::shared_ptr<const ControlSnapshot>> pending_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_
