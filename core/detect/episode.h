// The life of a rule's alert: pending, firing, resolved.
#ifndef GRADWATCH_CORE_DETECT_EPISODE_H_
#define GRADWATCH_CORE_DETECT_EPISODE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "core/detect/condition.h"
#include "core/detect/detector.h"
#include "core/detect/holding_steps.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// How the summary of an alert begins that was pending and went away without having fired; and of one that was pending
// when its job ended, so that nobody knows what would have become of it.
inline constexpr char kDidNotFire[] = "did not fire";
inline constexpr char kHadNotFiredYet[] = "had not fired yet: ";

// Counts steps and says when a state changes; the detector then fills in what happened and tells it. PENDING is told
// when half of for_steps have held: a single odd step of a rule that waits for five is no news. A pending alert is
// resolved as soon as its steps cannot help it to fire any more: where they must be in a row, with the first quiet one.
// Thread-compatible.
class Episode {
 public:
  enum class Change { kNone, kPending, kFiring, kResolved };

  // `rule` is a resolved one. `episodes_before` are those that the attempt has had of a rule of this name: their ids
  // are taken.
  Episode(const v1::Rule& rule, const AlertIdentity& identity, int32_t episodes_before = 0);

  // Takes the verdict of a step in and says what becomes of the episode. Never allocates unless a state changes.
  Change Advance(int64_t step, const Verdict& verdict);
  // Ends the episode because the job has ended at `step`. kResolved if there was one.
  Change Finish(int64_t step);
  // The same because from `step` on the rule is another one or, `removed`, there is none of its name.
  Change Withdraw(int64_t step, bool removed);
  // From `step` on the rule is this one, which measures the same (MeasureOf) and may ask for other steps or have
  // another severity, which the server tells at once (JobEdit::SetSeverity) and the next change too. What fires goes
  // on; what has not fired yet is counted anew where other steps are asked for, and kResolved where that was told.
  Change Follow(const v1::Rule& rule, int64_t step);

  // The alert as of the last change, but for value, limit and holding_steps, which are of the last step. Tensor,
  // summary and diagnosis of a start are the detector's to fill in; an end keeps them, and its summary says how it
  // ended first.
  v1::Alert& alert() { return alert_; }
  // How many there were, those of before included.
  int32_t episodes() const { return alert_.episode(); }

 private:
  // What the rule says of steps and severity.
  void Take(const v1::Rule& rule);
  Change Hold(int64_t step, const Verdict& verdict);
  Change Calm(int64_t step);
  Change End(int64_t step, const std::string& how);
  // How it ends for a reason of another's: "over because its rule was changed", or that it did not fire.
  std::string Over(absl::string_view why) const;
  void Start();
  void Show(v1::AlertState state, int64_t step);
  Change Resolve(int64_t step, const std::string& how);
  void KeepAsWorst(int64_t step, const Verdict& verdict);
  // "held on 17 steps from 100 to 260".
  std::string HeldOn() const;

  const std::string id_prefix_;
  int32_t for_steps_ = 1;
  int32_t within_steps_ = 1;
  int32_t tell_after_steps_ = 1;
  int32_t resolve_after_steps_ = 1;

  // Pending is first kept quiet, then told.
  enum class State { kIdle, kUntold, kPending, kFiring } state_ = State::kIdle;
  HoldingSteps holding_{1, 1};            // until it fires
  bool held_last_ = false;                // on the last step that could be judged
  std::optional<int64_t> unknown_since_;  // the first of the steps since then; unset: there are none
  int64_t last_holding_ = 0;              // the last step on which it held
  int32_t quiet_ = 0;                     // steps in a row on which it did not, while firing
  int64_t worst_step_ = 0;                // of alert_.value()
  v1::Alert alert_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_EPISODE_H_
