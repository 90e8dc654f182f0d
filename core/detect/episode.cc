#include "core/detect/episode.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/detect/words.h"

namespace gradwatch::core {
namespace {

// What a server takes (server/job/trainer_checks.h) leaves room for more.
constexpr size_t kLongestSummary = 690;

// At most so many bytes of UTF-8, without half a character at its end.
std::string Shortened(const std::string& text, size_t most) {
  constexpr absl::string_view kMore = "...";
  if (text.size() <= most) return text;
  size_t end = most - std::min(most, kMore.size());
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), kMore);
}

int32_t WithinSteps(const v1::Rule& rule) { return rule.has_within_steps() ? rule.within_steps() : rule.for_steps(); }

// NaN is worse than any; else what lies further on its side of the limit.
bool IsWorse(const Verdict& verdict, double than) {
  if (std::isnan(than)) return false;
  if (std::isnan(verdict.value)) return true;
  return verdict.low_is_bad ? verdict.value < than : verdict.value > than;
}

}  // namespace

Episode::Episode(const v1::Rule& rule, const AlertIdentity& identity, int32_t episodes_before)
    : id_prefix_(absl::StrCat(identity.job_uid, "/", identity.attempt, "/", rule.name(), "/")) {
  alert_.set_job_id(identity.job_id);
  alert_.set_attempt(identity.attempt);
  alert_.set_rule(rule.name());
  alert_.set_episode(episodes_before);
  holding_ = HoldingSteps(rule.for_steps(), WithinSteps(rule));
  Take(rule);
}

void Episode::Take(const v1::Rule& rule) {
  for_steps_ = rule.for_steps();
  within_steps_ = WithinSteps(rule);
  tell_after_steps_ = for_steps_ / 2 + for_steps_ % 2;
  resolve_after_steps_ = rule.resolve_after_steps();
  alert_.set_severity(rule.severity());
}

Episode::Change Episode::Follow(const v1::Rule& rule, int64_t step) {
  Change change = Change::kNone;
  if (rule.for_steps() != for_steps_ || WithinSteps(rule) != within_steps_) {
    if (state_ != State::kFiring) change = Withdraw(step, /*removed=*/false);
    holding_ = HoldingSteps(rule.for_steps(), WithinSteps(rule));
  }
  Take(rule);
  return change;
}

Episode::Change Episode::Advance(int64_t step, const Verdict& verdict) {
  if (verdict.kind == Verdict::Kind::kUnknown) {
    if (!unknown_since_.has_value()) unknown_since_ = step;
    return Change::kNone;
  }
  unknown_since_.reset();
  held_last_ = verdict.kind == Verdict::Kind::kHolds;
  return held_last_ ? Hold(step, verdict) : Calm(step);
}

Episode::Change Episode::Hold(int64_t step, const Verdict& verdict) {
  last_holding_ = step;
  quiet_ = 0;
  if (state_ == State::kFiring || state_ == State::kPending) alert_.set_holding_steps(alert_.holding_steps() + 1);
  if (state_ == State::kFiring) {
    if (IsWorse(verdict, alert_.value())) KeepAsWorst(step, verdict);
    return Change::kNone;
  }
  holding_.Hold(step);
  // What was worst on a step that does not count any more is forgotten.
  const bool begins = state_ == State::kIdle || (state_ == State::kUntold && worst_step_ < holding_.first_step());
  if (begins || IsWorse(verdict, alert_.value())) KeepAsWorst(step, verdict);
  if (state_ == State::kIdle) state_ = State::kUntold;
  const bool fires = holding_.enough();
  if (!fires && (state_ == State::kPending || holding_.count() < tell_after_steps_)) return Change::kNone;
  if (state_ == State::kUntold) Start();
  state_ = fires ? State::kFiring : State::kPending;
  Show(fires ? v1::ALERT_STATE_FIRING : v1::ALERT_STATE_PENDING, step);
  return fires ? Change::kFiring : Change::kPending;
}

Episode::Change Episode::Calm(int64_t step) {
  if (state_ == State::kIdle) return Change::kNone;
  if (state_ == State::kFiring) {
    if (++quiet_ < resolve_after_steps_) return Change::kNone;
    return Resolve(step, absl::StrCat("over after ", quiet_, " quiet step", quiet_ == 1 ? "" : "s"));
  }
  holding_.Calm();
  if (holding_.Helps()) return Change::kNone;
  if (state_ == State::kUntold) return End(step, std::string());
  const std::string needed = within_steps_ > for_steps_ ? absl::StrCat(for_steps_, " of ", within_steps_, " steps")
                                                        : absl::StrCat(for_steps_, " steps in a row");
  return End(step, absl::StrCat(kDidNotFire, ", which needs ", needed));
}

Episode::Change Episode::Finish(int64_t step) {
  if (!held_last_) return End(step, Over("the job has ended"));
  const char* const yet = state_ == State::kFiring ? "" : kHadNotFiredYet;
  if (!unknown_since_.has_value()) return End(step, absl::StrCat(yet, "still held when the job ended"));
  return End(step, absl::StrCat(yet, "held when it was last judged; could not be judged from step ", *unknown_since_,
                                " to the end of the job"));
}

Episode::Change Episode::Withdraw(int64_t step, bool removed) {
  return End(step, Over(removed ? "its rule was taken out" : "its rule was changed"));
}

std::string Episode::Over(absl::string_view why) const {
  return state_ == State::kFiring ? absl::StrCat("over because ", why) : absl::StrCat(kDidNotFire, ": ", why);
}

Episode::Change Episode::End(int64_t step, const std::string& how) {
  if (state_ == State::kPending || state_ == State::kFiring) return Resolve(step, how);
  state_ = State::kIdle;
  holding_.Clear();
  return Change::kNone;
}

void Episode::Start() {
  alert_.set_episode(alert_.episode() + 1);
  alert_.set_alert_id(absl::StrCat(id_prefix_, alert_.episode()));
  alert_.set_first_step(holding_.first_step());
  alert_.set_holding_steps(holding_.count());
}

void Episode::Show(v1::AlertState state, int64_t step) {
  alert_.set_state(state);
  alert_.set_step(step);
  alert_.clear_tensor();
  alert_.clear_summary();
  alert_.clear_diagnosis();
}

Episode::Change Episode::Resolve(int64_t step, const std::string& how) {
  const std::string end =
      absl::StrCat(how, "; ", HeldOn(), "; worst ", Number(alert_.value()), " at step ", worst_step_, "; it was: ");
  alert_.set_summary(absl::StrCat(end, Shortened(alert_.summary(), kLongestSummary - end.size())));
  alert_.set_state(v1::ALERT_STATE_RESOLVED);
  alert_.set_step(step);
  state_ = State::kIdle;
  holding_.Clear();
  return Change::kResolved;
}

std::string Episode::HeldOn() const {
  if (alert_.holding_steps() == 1) return absl::StrCat("held on step ", last_holding_);
  return absl::StrCat("held on ", alert_.holding_steps(), " steps from ", alert_.first_step(), " to ", last_holding_);
}

void Episode::KeepAsWorst(int64_t step, const Verdict& verdict) {
  alert_.set_value(verdict.value);
  alert_.set_limit(verdict.limit);
  worst_step_ = step;
}

}  // namespace gradwatch::core
