// The one seam out of the engine: what a run tells while it goes on.
#ifndef GRADWATCH_CORE_TRAIN_OBSERVER_H_
#define GRADWATCH_CORE_TRAIN_OBSERVER_H_

#include <cstdint>

#include "core/stats/step_record.h"
#include "core/train/control_edit.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// Called on the training thread, in the order in which things happened; must return at once: OnAlert and OnEdit also
// within a step.
class Observer {
 public:
  virtual ~Observer() = default;
  // A step is done. The record is valid during the call.
  virtual void OnStep(const StepRecord& record) = 0;
  // An alert changed its state. Within the step that did it, as soon as that is known: before the update, or before the
  // validation, and before OnStep, which does not come if the run ends within the step. What the end of the run
  // resolves comes after the last OnStep.
  virtual void OnAlert(const v1::Alert& alert) = 0;
  // An edit of the controls was applied, or never will be; in the order of revisions. One that was applied holds from a
  // step that is being done, so that nothing drops it any more, or, told between OnPaused and OnResumed, from the first
  // one after the pause.
  virtual void OnEdit(const EditOutcome& outcome) = 0;
  // The run waits, after `steps_done` steps.
  virtual void OnPaused(int64_t steps_done) = 0;
  // The run goes on.
  virtual void OnResumed(int64_t steps_done) = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_OBSERVER_H_
