// Bounds what is told of alerts: a rule that flaps on every step of a fast job would otherwise say more than any server
// takes, or any person reads.
#ifndef GRADWATCH_CORE_DETECT_ALERT_BUDGET_H_
#define GRADWATCH_CORE_DETECT_ALERT_BUDGET_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/detect/detector.h"
#include "core/detect/told_lines.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// The rule of the alert that tells what was counted instead; no rule of a job may have its name.
inline constexpr char kTruncationRule[] = "alerts_truncated";

struct AlertBudgetOptions {
  int burst = 100;         // episodes of a rule at once,
  double per_second = 10;  // and then so many a second
  int max_waiting = 2048;  // transitions that nobody has taken yet; beyond that no new episode is told,
  int always_told = 10;    // but for the first ones of each rule: none is silenced by another
};

// Transitions of so many rules that may wait at once: an episode has at most three, and those of the counting, one for
// each severity, have two.
constexpr int MostWaiting(const AlertBudgetOptions& options, int rules) {
  return options.max_waiting + 3 * options.always_told * rules + 2 * 3;
}

// Between a detector and whoever tells its alerts. Whether an episode is told is decided by its first transition, for
// all of it; one that is not told is counted. An alert of the rule "alerts_truncated" fires when the counting begins,
// as severe as what is counted first: it says so and nothing more, since it may be the last that is heard of the run.
// It is resolved at the end, and then says how many episodes, of which rules and in which steps were counted. Where
// something more severe is counted for the first time, another episode of that severity takes over.
//
// What alerts of one fault say alike is told once, by the first of those that fire. Thread-compatible.
class AlertBudget {
 public:
  // `clock` must outlive it.
  AlertBudget(AlertIdentity identity, const Clock* clock, const AlertBudgetOptions& options = {});

  // A transition, in the order in which they happen; what is to be told now, in order. `waiting`: transitions that were
  // told and that nobody has taken yet.
  std::vector<v1::Alert> Take(v1::Alert alert, int64_t waiting);
  // The run has ended, and everything that was open is resolved; `step` is the last one that was done, which may be
  // before that of the last alerts: no episode is told to end before it began. What is still to be told.
  std::vector<v1::Alert> Finish(int64_t step);

 private:
  using Diagnosis = google::protobuf::RepeatedPtrField<std::string>;
  // What was done with the episodes of a rule.
  struct Rule {
    double tokens = 0;
    absl::Duration filled;  // when the tokens were counted
    int64_t told = 0;
    std::map<int32_t, Diagnosis> open;  // episodes that were told, and what was last said of why
    std::optional<int32_t> counting;    // the episode that is not told, while it lasts
    int64_t counted = 0;
    int64_t first_step = 0;  // of what was counted
    int64_t last_step = 0;
  };

  Rule& Find(const std::string& name);
  bool MayTell(Rule& rule, int64_t waiting);
  // The transition as it is told.
  v1::Alert Tell(v1::Alert alert, Rule& rule);
  void Count(const v1::Alert& alert, Rule& rule);
  std::vector<v1::Alert> BeginCounting(const v1::Alert& alert);
  v1::Alert Truncation(v1::AlertState state, int64_t step, std::string summary) const;
  std::string Summary() const;  // at the end

  const AlertIdentity identity_;
  const Clock* const clock_;
  const AlertBudgetOptions options_;
  std::map<std::string, Rule> rules_;
  ToldLines lines_;
  int open_ = 0;  // episodes that were told and are not resolved, of all rules: one of each at most
  int64_t counted_ = 0;
  // The episode of the counting:
  int32_t episode_ = 0;  // 0: nothing is counted yet
  v1::Severity severity_ = v1::SEVERITY_UNSPECIFIED;
  int64_t first_step_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_ALERT_BUDGET_H_
