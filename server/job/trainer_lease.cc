#include "server/job/trainer_lease.h"

#include <algorithm>
#include <utility>

namespace gradwatch::server {
namespace {

using State = LeaseState;
using Input = LeaseInput;
using Action = LeaseAction;

// One input on its way through the table: a method for each, by what state the lease is in.
class Turn {
 public:
  Turn(const Lease& lease, absl::Duration now, const LeaseTimes& times)
      : step_{lease, {}}, lease_(step_.lease), now_(now), times_(times) {}

  LeaseStep Take(Input input, absl::Duration grace) {
    switch (input) {
      case Input::kLaunched:
        Launched();
        break;
      case Input::kAdopted:
        Adopted();
        break;
      case Input::kKnock:
      case Input::kKnockOfFirst:
      case Input::kKnockOfOther:
      case Input::kKnockOfFormer:
        Knock(input);
        break;
      case Input::kTurnedAway:
        TurnedAway();
        break;
      case Input::kWelcomed:
        Welcomed();
        break;
      case Input::kHeard:
        Heard();
        break;
      case Input::kStreamLost:
        StreamLost();
        break;
      case Input::kProcessEnded:
        ProcessEnded();
        break;
      case Input::kStop:
        Stop(grace);
        break;
      case Input::kTick:
        Tick();
        break;
      case Input::kWordsGoOn:
        if (lease_.state == State::kHearing) lease_.deadline = std::max(lease_.deadline, now_ + times_.reading);
        break;
      case Input::kWordsHeard:
        if (lease_.state == State::kHearing) Conclude();
        break;
      case Input::kJobEnded:
        lease_ = {.state = State::kOver, .external = lease_.external, .heard = lease_.heard};
        break;
    }
    return std::move(step_);
  }

 private:
  void Do(Action action) { step_.actions.push_back(action); }
  absl::Duration lost_after() const { return lease_.external ? times_.lost_after_external : times_.lost_after; }
  void WaitAnew() {
    lease_.heard = now_;
    lease_.lost_by = now_ + lost_after();
  }

  void Launched() {
    switch (lease_.state) {
      case State::kNone:
        lease_.state = State::kAwaited;
        return WaitAnew();
      case State::kEnding:  // it was given up meanwhile
      case State::kHearing:
      case State::kConcluding:
      case State::kOver:
        return Do(Action::kKill);
      default:
        return;  // it was faster than the news of its start
    }
  }

  // A process that the server started is looked for, and tells its end. Of an external trainer nobody knows whether it
  // is there: it has the time after which it would count as silent, before another one may take the job.
  void Adopted() {
    if (lease_.state != State::kNone) return;
    WaitAnew();
    lease_.state = lease_.external ? State::kDetached : State::kAway;
    if (lease_.external) lease_.deadline = now_ + times_.silence;
  }

  void Knock(Input who) {
    const bool never = who == Input::kKnockOfFormer || (who == Input::kKnockOfOther && !lease_.external);
    if (never || lease_.state == State::kOver) return Do(Action::kRefuseFenced);
    if (!MayEnter(who)) return Do(Action::kRefuseLater);
    if (HasStream(lease_.state)) Do(Action::kFenceOld);
    lease_.state = State::kAttaching;
    lease_.deadline = absl::InfiniteDuration();
    Do(Action::kAdmit);
  }
  bool MayEnter(Input who) const {
    switch (lease_.state) {
      case State::kNone:
      case State::kAwaited:
      case State::kSilent:
      case State::kAway:
        return true;
      case State::kDetached:
        return who != Input::kKnockOfOther;
      case State::kAttaching:
      case State::kHeld:
        return who == Input::kKnock;
      default:
        return false;
    }
  }

  // It is there, and comes again: that the server is in trouble must not end its job.
  void TurnedAway() {
    switch (lease_.state) {
      case State::kAttaching:
        lease_.state = State::kDetached;
        lease_.deadline = now_ + times_.both_ends;
        return WaitAnew();
      case State::kAwaited:
      case State::kSilent:
      case State::kDetached:
      case State::kAway:
        return WaitAnew();
      default:
        return;
    }
  }

  void Welcomed() {
    if (lease_.state != State::kAttaching) return;  // kEnding: its last words may be on the stream
    lease_.state = State::kHeld;
    lease_.heard = now_;
    lease_.lost_by = absl::InfiniteDuration();
  }

  void Heard() {
    if (lease_.state != State::kHeld && lease_.state != State::kSilent) return;
    Do(Action::kRestore);  // also of one that is held: what made it so may not be durable yet
    lease_.state = State::kHeld;
    lease_.heard = now_;
    lease_.lost_by = absl::InfiniteDuration();
  }

  void Stop(absl::Duration grace) {
    if (lease_.state == State::kOver) return;
    lease_.stop_by = std::min(lease_.stop_by, now_ + grace);
    if (lease_.state == State::kHearing) lease_.deadline = std::min(lease_.deadline, WordsBy());
  }
  // Until when last words are waited for that are looked for now.
  absl::Duration WordsBy() const {
    return now_ + std::min(times_.last_words, std::max(lease_.stop_by - now_, times_.reading));
  }

  void StreamLost() {
    if (HasStream(lease_.state)) {
      lease_.state = State::kDetached;  // of a silent one the time goes on
      lease_.deadline = now_ + times_.both_ends;
    } else if (lease_.state == State::kEnding) {
      lease_.stream = false;
      if (lease_.process_ended) Hear();
    }
  }

  void ProcessEnded() {
    if (lease_.external) return;
    switch (lease_.state) {
      case State::kNone:
      case State::kAwaited:
      case State::kDetached:
      case State::kAway:
        lease_.verdict = Action::kConcludeLost;
        return Hear();
      case State::kAttaching:
      case State::kHeld:
      case State::kSilent:
        lease_.process_ended = true;
        return BeginEnd(Action::kConcludeLost);
      case State::kEnding:
        lease_.process_ended = true;
        if (!lease_.stream) Hear();
        return;
      default:
        return;
    }
  }

  void Tick() {
    switch (lease_.state) {
      case State::kEnding:
        if (now_ >= lease_.deadline) Hear();
        return;
      case State::kConcluding:
        return Conclude();
      case State::kHearing:
        return now_ < lease_.deadline ? Do(Action::kRecovering) : Conclude();
      case State::kOver:
        return;
      default:
        break;
    }
    if (now_ >= lease_.stop_by) return GiveUp(Action::kConcludeStopped);
    if (lease_.state == State::kHeld) return LookWhetherItIsHeard();
    if (lease_.state == State::kDetached) {
      if (now_ < lease_.deadline) return;
      lease_.state = State::kAway;
      lease_.deadline = absl::InfiniteDuration();
      if (lease_.lost_by == absl::InfiniteDuration()) lease_.lost_by = now_ + lost_after();
    }
    if (lease_.state == State::kNone || lease_.state == State::kAttaching) return;
    if (now_ >= lease_.lost_by) return GiveUp(Action::kConcludeAbsent);
    if (lease_.state != State::kAwaited) Do(Action::kRecovering);
  }
  void LookWhetherItIsHeard() {
    if (now_ - lease_.heard < times_.silence) return Do(Action::kRestore);
    lease_.state = State::kSilent;
    lease_.lost_by = now_ + lost_after();
    Do(Action::kRecovering);
  }

  // The time of the trainer is over.
  void GiveUp(Action verdict) {
    if (lease_.external) {
      if (HasStream(lease_.state)) Do(Action::kCloseStream);
      lease_.verdict = verdict;
      return Conclude();
    }
    lease_.process_ended = false;
    BeginEnd(verdict);
    Do(Action::kKill);
  }
  void BeginEnd(Action verdict) {
    lease_.stream = HasStream(lease_.state);
    lease_.state = State::kEnding;
    lease_.verdict = verdict;
    lease_.deadline = now_ + times_.both_ends;
  }
  void Hear() {
    if (lease_.state == State::kEnding && lease_.stream) Do(Action::kCloseStream);
    lease_.state = State::kHearing;
    lease_.stream = lease_.process_ended = false;
    lease_.deadline = WordsBy();
    Do(Action::kHearLastWords);
  }
  void Conclude() {
    lease_.state = State::kConcluding;
    lease_.deadline = absl::InfiniteDuration();
    Do(lease_.verdict);
  }

  LeaseStep step_;
  Lease& lease_;
  const absl::Duration now_;
  const LeaseTimes& times_;
};

}  // namespace

LeaseStep Advance(const Lease& lease, LeaseInput input, absl::Duration now, const LeaseTimes& times,
                  absl::Duration grace) {
  return Turn(lease, now, times).Take(input, grace);
}

bool HasStream(LeaseState state) {
  return state == LeaseState::kAttaching || state == LeaseState::kHeld || state == LeaseState::kSilent;
}

}  // namespace gradwatch::server
