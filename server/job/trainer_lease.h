// Who may run a job's steps, and what becomes of the job when nothing is heard of them: a pure table beside that of the
// job's states. A lease and something that happened give the next lease and what is to be done.
#ifndef GRADWATCH_SERVER_JOB_TRAINER_LEASE_H_
#define GRADWATCH_SERVER_JOB_TRAINER_LEASE_H_

#include <vector>

#include "absl/time/time.h"

namespace gradwatch::server {

// How long what is waited for.
struct LeaseTimes {
  absl::Duration silence = absl::Seconds(35);     // after which an attached trainer counts as silent
  absl::Duration lost_after = absl::Seconds(60);  // for which a hosted job waits for its trainer, then it is lost
  absl::Duration lost_after_external = absl::Hours(24);  // the same of an external one
  absl::Duration grace = absl::Seconds(60);              // of a stop that does not say
  // How long the end of a process and the end of its stream may be apart: whichever comes first waits for the other, so
  // that what the trainer said last is heard and the event says how it ended.
  absl::Duration both_ends = absl::Milliseconds(500);
  // How long last words are tried again that cannot be read or stored. Of a job that is to end by its grace: until that
  // is over, and for `reading` in any case, from the last time that some were taken in.
  absl::Duration last_words = absl::Hours(24);
  absl::Duration reading = absl::Seconds(30);
};

enum class LeaseState {
  kNone,        // nobody is expected: the job waits for its turn, or its trainer is being started
  kAwaited,     // a trainer was started, or may come by itself
  kAttaching,   // its stream is open, it is not welcomed yet
  kHeld,        // it is attached and heard
  kSilent,      // it is attached, and nothing was heard of it for LeaseTimes::silence
  kDetached,    // its stream was lost a moment ago
  kAway,        // its stream is lost; it may come back
  kEnding,      // its process has ended, or was killed: the other end, of the stream or of the process, is waited for
  kHearing,     // both are over: what it has left is read
  kConcluding,  // what becomes of the job is known, and not durable yet
  kOver,        // the job has ended
};

enum class LeaseInput {
  kLaunched,       // a trainer was started, or may come by itself
  kAdopted,        // the server has started again under a job that had begun
  kKnock,          // the trainer that holds the job opens a stream
  kKnockOfFirst,   // a trainer does, and nobody holds the job yet
  kKnockOfOther,   // a trainer does, and another one holds the job
  kKnockOfFormer,  // a trainer does that has lost the job: its attempt is over
  kTurnedAway,     // the trainer, at the door or on its way in, was told to come back later
  kWelcomed,       // it is attached
  kHeard,          // something came from the trainer that is attached
  kStreamLost,     // its stream is over
  kProcessEnded,   // its process is
  kStop,           // somebody asked for the end of the job
  kTick,           // time has passed
  kWordsGoOn,      // some of what it has left was taken in
  kWordsHeard,     // all of it was, as far as it can be, and has not ended the job
  kJobEnded,       // the job has ended, by whatever it was
};

enum class LeaseAction {
  kAdmit,            // of a knock: let it in
  kFenceOld,         // of a knock, before kAdmit: close the stream that the trainer, or the one before it, has
  kRefuseFenced,     // of a knock: for ever
  kRefuseLater,      // of a knock: it is to come back later
  kRecovering,       // make the job RECOVERING, unless it is, or cannot be; again on each tick, until that is durable
  kRestore,          // make a job that is RECOVERING what it was; again on each tick
  kCloseStream,      // of the trainer
  kKill,             // the process
  kHearLastWords,    // read what the trainer has left; kWordsHeard or kJobEnded is the answer
  kConcludeLost,     // the job has FAILED: its trainer has ended; again on each tick, until that is durable
  kConcludeAbsent,   // its trainer was not heard for too long; so are these two
  kConcludeStopped,  // the job is STOPPED: its trainer has not ended within the grace
};

// A value. Times are on a clock that stands still while the server itself is stopped.
struct Lease {
  LeaseState state = LeaseState::kNone;
  bool external = false;                             // the server has no process to kill
  absl::Duration heard = -absl::InfiniteDuration();  // when the trainer was last started, or known to be there
  // kDetached, kEnding: until when the other end is waited for; kHearing: until when last words are.
  absl::Duration deadline = absl::InfiniteDuration();
  absl::Duration lost_by = absl::InfiniteDuration();  // when a trainer that is not heard until then is lost
  absl::Duration stop_by = absl::InfiniteDuration();  // when one that has not ended is killed, or let go
  bool stream = false;                                // kEnding: its stream is still open
  bool process_ended = false;                         // kEnding: its process has ended
  LeaseAction verdict = LeaseAction::kConcludeLost;   // kEnding, kHearing, kConcluding: what becomes of the job

  bool operator==(const Lease&) const = default;
};

struct LeaseStep {
  Lease lease;
  std::vector<LeaseAction> actions;  // in this order
};

// The table. `grace`: of kStop; the shortest that was asked for counts.
LeaseStep Advance(const Lease& lease, LeaseInput input, absl::Duration now, const LeaseTimes& times,
                  absl::Duration grace = absl::InfiniteDuration());

// Whether a trainer has a stream in this state. In kEnding it may: see Lease::stream.
bool HasStream(LeaseState state);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_TRAINER_LEASE_H_
