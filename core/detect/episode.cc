#include "core/detect/episode.h"

#include "absl/strings/str_cat.h"
#include "core/detect/diagnosis.h"

namespace gradwatch::core {

Episode::Episode(const v1::Rule& rule, const AlertIdentity& identity)
    : id_prefix_(absl::StrCat(identity.job_uid, "/", identity.attempt, "/", rule.name(), "/")),
      for_steps_(rule.for_steps()),
      tell_after_steps_(rule.for_steps() / 2 + rule.for_steps() % 2),
      resolve_after_steps_(rule.resolve_after_steps()) {
  alert_.set_job_id(identity.job_id);
  alert_.set_attempt(identity.attempt);
  alert_.set_rule(rule.name());
  alert_.set_severity(rule.severity());
}

Episode::Change Episode::Advance(int64_t step, const Verdict& verdict) {
  if (verdict.kind == Verdict::Kind::kUnknown) return Change::kNone;
  return verdict.kind == Verdict::Kind::kHolds ? Hold(step, verdict) : Calm(step);
}

Episode::Change Episode::Hold(int64_t step, const Verdict& verdict) {
  if (state_ == State::kFiring) {
    quiet_ = 0;
    KeepWorst(step, verdict);
    return Change::kNone;
  }
  if (state_ == State::kIdle) {
    state_ = State::kUntold;
    first_step_ = step;
    holding_ = 0;
  }
  ++holding_;
  const bool fires = holding_ >= for_steps_;
  if (!fires && (state_ == State::kPending || holding_ < tell_after_steps_)) return Change::kNone;
  if (state_ == State::kUntold) Start();
  state_ = fires ? State::kFiring : State::kPending;
  quiet_ = 0;
  Show(fires ? v1::ALERT_STATE_FIRING : v1::ALERT_STATE_PENDING, step, verdict);
  return fires ? Change::kFiring : Change::kPending;
}

Episode::Change Episode::Calm(int64_t step) {
  if (state_ == State::kUntold) state_ = State::kIdle;
  if (state_ == State::kIdle) return Change::kNone;
  if (state_ == State::kPending) {
    return Resolve(step, absl::StrCat("did not fire: it held for ", holding_, " of ", for_steps_, " steps in a row"));
  }
  if (++quiet_ < resolve_after_steps_) return Change::kNone;
  return Resolve(step, absl::StrCat("over after ", quiet_, " quiet steps"));
}

Episode::Change Episode::Finish(int64_t step) {
  if (state_ == State::kUntold) state_ = State::kIdle;
  if (state_ == State::kIdle) return Change::kNone;
  return Resolve(step, "over because the job has ended");
}

void Episode::Start() {
  alert_.set_episode(alert_.episode() + 1);
  alert_.set_alert_id(absl::StrCat(id_prefix_, alert_.episode()));
  alert_.set_first_step(first_step_);
}

void Episode::Show(v1::AlertState state, int64_t step, const Verdict& verdict) {
  alert_.set_state(state);
  alert_.set_step(step);
  alert_.set_value(verdict.value);
  alert_.set_limit(verdict.limit);
  alert_.clear_tensor();
  alert_.clear_summary();
  alert_.clear_diagnosis();
  worst_step_ = step;
}

Episode::Change Episode::Resolve(int64_t step, const std::string& why) {
  alert_.set_summary(absl::StrCat(why, "; it began at step ", alert_.first_step(), ", the worst value was ",
                                  Number(alert_.value()), " at step ", worst_step_));
  alert_.set_state(v1::ALERT_STATE_RESOLVED);
  alert_.set_step(step);
  state_ = State::kIdle;
  return Change::kResolved;
}

void Episode::KeepWorst(int64_t step, const Verdict& verdict) {
  if (!(verdict.value > alert_.value())) return;
  alert_.set_value(verdict.value);
  alert_.set_limit(verdict.limit);
  worst_step_ = step;
}

}  // namespace gradwatch::core
