// The life of a rule's alert: pending, firing, resolved.
#ifndef GRADWATCH_CORE_DETECT_EPISODE_H_
#define GRADWATCH_CORE_DETECT_EPISODE_H_

#include <cstdint>
#include <string>

#include "core/detect/condition.h"
#include "core/detect/detector.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// Counts steps and says when a state changes; the detector then fills in what happened and tells it. PENDING is told
// when half of for_steps have held: a single odd step of a rule that waits for five is no news. Thread-compatible.
class Episode {
 public:
  enum class Change { kNone, kPending, kFiring, kResolved };

  // `rule` is a resolved one.
  Episode(const v1::Rule& rule, const AlertIdentity& identity);

  // Takes the verdict of a step in and says what becomes of the episode. Never allocates unless a state changes.
  Change Advance(int64_t step, const Verdict& verdict);
  // Ends the episode because the job has ended at `step`. kResolved if there was one.
  Change Finish(int64_t step);

  // The alert as of the last change. Tensor, summary and diagnosis of a start are the detector's to fill in; an end
  // keeps them, but for the summary.
  v1::Alert& alert() { return alert_; }

 private:
  Change Hold(int64_t step, const Verdict& verdict);
  Change Calm(int64_t step);
  void Start();
  void Show(v1::AlertState state, int64_t step, const Verdict& verdict);
  Change Resolve(int64_t step, const std::string& why);
  void KeepWorst(int64_t step, const Verdict& verdict);

  const std::string id_prefix_;
  const int32_t for_steps_;
  const int32_t tell_after_steps_;
  const int32_t resolve_after_steps_;

  // Pending is first kept quiet, then told.
  enum class State { kIdle, kUntold, kPending, kFiring } state_ = State::kIdle;
  int64_t first_step_ = 0;
  int32_t holding_ = 0;  // steps in a row on which the condition held, before it fires
  int32_t quiet_ = 0;    // steps in a row on which it did not, while firing
  int64_t worst_step_ = 0;
  v1::Alert alert_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_EPISODE_H_
