// The controls of a running job: edits and commands come from other threads, the training loop takes them between
// steps.
#ifndef GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_
#define GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "core/train/control_edit.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Controls with their number.
struct ControlSnapshot {
  int64_t revision = 1;
  v1::Controls controls;  // resolved
};

// Thread-safe. The training loop looks at two atomic numbers a step and takes the lock only when something is due.
class LiveControls {
 public:
  enum class Command { kRun, kPause, kStop };
  // Whether the run can have these controls, which are valid.
  using FitsRun = absl::FunctionRef<absl::Status(const v1::Controls&)>;

  explicit LiveControls(ControlSnapshot initial);

  // Lets an edit wait until it is due. One that is known, whatever became of it, is ignored: messages may come twice.
  // Ids need not rise.
  void Add(ControlEdit edit) ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes an edit back: it waits no more, and one that is not known yet never will. One that was applied or dropped is
  // left alone, since that is told.
  void Withdraw(int64_t edit) ABSL_LOCKS_EXCLUDED(mutex_);
  // What the loop is to do between two steps. A stop is final.
  void SetCommand(Command command) ABSL_LOCKS_EXCLUDED(mutex_);

  // For the training thread. Applies what is due for `step` in the order of (at_step, edit), where an edit without
  // at_step counts as one of `step`; each that fits makes the next revision, the others change nothing. Adds what
  // became of them, and of those that were withdrawn, to `outcomes`. Returns the controls that hold for `step`; steps
  // must not go back. The same pointer as before means the same controls.
  const std::shared_ptr<const ControlSnapshot>& ForStep(int64_t step, FitsRun fits, std::vector<EditOutcome>* outcomes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The command now.
  Command command() const { return command_.load(std::memory_order_acquire); }
  // For the training thread. Waits until the command is not kPause, or ForStep(step) has something to do, and returns
  // the command.
  Command AwaitRun(int64_t step) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Takes out what is due, in its order, and the outcomes of what was withdrawn.
  std::vector<ControlEdit> TakeDue(int64_t step, std::vector<EditOutcome>* outcomes) ABSL_LOCKS_EXCLUDED(mutex_);
  EditOutcome Apply(const ControlEdit& edit, int64_t step, FitsRun fits);
  // Notes that it waits no more and must not come back.
  void Forget(int64_t edit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateNextDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::atomic<Command> command_{Command::kRun};     // written under mutex_
  std::atomic<int64_t> next_due_;                   // the step at which ForStep has something to do; under mutex_ too
  std::shared_ptr<const ControlSnapshot> current_;  // training thread only

  absl::Mutex mutex_;
  std::map<int64_t, ControlEdit> waiting_ ABSL_GUARDED_BY(mutex_);          // by id
  std::set<std::pair<int64_t, int64_t>> schedule_ ABSL_GUARDED_BY(mutex_);  // at_step, id of those
  std::vector<int64_t> withdrawn_ ABSL_GUARDED_BY(mutex_);                  // not told yet
  std::set<int64_t> done_ ABSL_GUARDED_BY(mutex_);                          // applied, dropped or withdrawn
  std::deque<int64_t> done_order_ ABSL_GUARDED_BY(mutex_);                  // those, the oldest first
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_LIVE_CONTROLS_H_
