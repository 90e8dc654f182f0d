// The controls of a running job, as other threads set them and the training loop reads them.
#ifndef GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_
#define GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Controls with their number.
struct ControlSnapshot {
  int64_t revision = 1;
  v1::Controls controls;  // resolved
};

// Thread-safe. The training loop looks at two atomic numbers a step and takes the lock only when
// controls are due.
class LiveControls {
 public:
  enum class Command { kRun, kPause, kStop };

  explicit LiveControls(ControlSnapshot initial);

  // Controls to use from step `at_step` (unset: the next step) on. A revision that is not above the last one set is
  // ignored, so messages may come twice. Controls that are due replace all of lower revisions, due or not.
  void Set(ControlSnapshot snapshot, std::optional<int64_t> at_step) ABSL_LOCKS_EXCLUDED(mutex_);
  // What the loop is to do between two steps. A stop is final.
  void SetCommand(Command command) ABSL_LOCKS_EXCLUDED(mutex_);

  // For the training thread. The controls that hold for `step`; steps must not go back. The same pointer as before
  // means the same controls.
  const std::shared_ptr<const ControlSnapshot>& ForStep(int64_t step) ABSL_LOCKS_EXCLUDED(mutex_);
  // For the training thread. The command now.
  Command command() const { return command_.load(std::memory_order_acquire); }
  // For the training thread. Waits until the command is not kPause and returns it.
  Command AwaitRun() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Pending {
    int64_t at_step = 0;
    std::shared_ptr<const ControlSnapshot> snapshot;
  };

  bool IsRunning() const { return command() != Command::kPause; }

  std::atomic<Command> command_{Command::kRun};     // written under mutex_
  std::atomic<int64_t> next_due_;                   // smallest at_step that is pending; written under mutex_
  std::shared_ptr<const ControlSnapshot> current_;  // training thread only

  absl::Mutex mutex_;
  int64_t last_revision_ ABSL_GUARDED_BY(mutex_);
  std::vector<Pending> pending_ ABSL_GUARDED_BY(mutex_);  // in the order of revisions
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_
