// The one seam out of the engine: what a run tells while it goes on.
#ifndef GRADWATCH_CORE_TRAIN_OBSERVER_H_
#define GRADWATCH_CORE_TRAIN_OBSERVER_H_

#include <cstdint>

#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// Called on the training thread, between steps and in the order in which things happened; must return at once.
class Observer {
 public:
  virtual ~Observer() = default;
  // A step is done. The record is valid during the call.
  virtual void OnStep(const StepRecord& record) = 0;
  // An alert changed its state on the step just reported.
  virtual void OnAlert(const v1::Alert& alert) = 0;
  // Controls of `revision` hold from `step` on, which is being done: nothing drops it any more.
  virtual void OnControlsApplied(int64_t revision, int64_t step) = 0;
  // The run waits, after `steps_done` steps.
  virtual void OnPaused(int64_t steps_done) = 0;
  // The run goes on.
  virtual void OnResumed(int64_t steps_done) = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_OBSERVER_H_
