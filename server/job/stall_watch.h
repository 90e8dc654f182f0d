// Judges whether a job whose trainer is there still makes steps, and words the alert. Pure: no locks, no clock.
#ifndef GRADWATCH_SERVER_JOB_STALL_WATCH_H_
#define GRADWATCH_SERVER_JOB_STALL_WATCH_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gradwatch/v1/alert.pb.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::server {

// The rule of the alerts that the server itself raises, where the job has no name for it: no trainer may tell one.
inline constexpr char kServerRule[] = "stall";

// The rule about stalls of a job with these rules: theirs, or the one that every job has.
v1::Rule StallRuleOf(const v1::RuleSet& rules);

// Whether `rules` (resolved) can take the place of a running job's: names that mark alerts as the server's in its spec
// go on to do so, and no others begin to, or an alert could be taken for one of the other kind. INVALID_ARGUMENT with
// the place of the rule in the set that was `asked` for: "rules.rules[2].name", or "rules.preset" that has it.
absl::Status CheckStallNames(const v1::RuleSet& rules, const v1::RuleSet& asked, const v1::JobSpec& spec);

// Times are on a clock that stands still while the server itself is stopped. How long a step takes is measured by how
// fast they come in, so that trainers that tell no times are judged too.
class StallWatch {
 public:
  // The job runs at `now` and has done `steps_done` steps. Called about once a second.
  void Look(absl::Duration now, int64_t steps_done);
  // Until it is measured: about what a step takes.
  void Expect(absl::Duration step) { expected_ = step; }
  // It does not run, or nobody can say whether it does: the time begins anew with the next Look.
  void Rest() { since_.reset(); }

  // As of the last Look.
  int64_t steps_done() const { return steps_done_; }
  // How long no step has come, as of the last Look.
  absl::Duration waited() const { return since_.has_value() ? now_ - *since_ : absl::ZeroDuration(); }
  // Of the last 31 looks that found new steps. Unset: not known.
  std::optional<absl::Duration> MedianStep() const;
  // How long a step may take.
  absl::Duration Limit(const v1::Rule& rule) const;

 private:
  absl::Duration now_;
  std::optional<absl::Duration> since_;  // when the last step came, or watching began
  bool measures_ = false;                // a step came at `since_`
  int64_t steps_done_ = 0;
  absl::Duration expected_ = absl::ZeroDuration();
  std::deque<absl::Duration> step_times_;
};

// An alert of `rule` for a job that waits for its step number steps_done. Its id and episode are for the caller.
v1::Alert MakeStallAlert(const v1::Job& job, const v1::Rule& rule, const StallWatch& watch, absl::Time now);
// The end of one that fires.
v1::Alert EndStallAlert(v1::Alert alert, const v1::Job& job, absl::Time now);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_STALL_WATCH_H_
