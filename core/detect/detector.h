// Judges every step of a job against its rules and keeps the episodes of its alerts.
#ifndef GRADWATCH_CORE_DETECT_DETECTOR_H_
#define GRADWATCH_CORE_DETECT_DETECTOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/detect/run_signals.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Checks a RuleSet: names unique, presets known, numbers in range, thresholds that can fire, at most 64 rules with
// those of the preset. Violations are relative to the set ("rules[1].norm_spike.window").
absl::Status ValidateRules(const v1::RuleSet& rules);

// The whole list of rules: those of the preset, each replaced in its place or taken out where the set says so, then the
// set's own. What a replacing rule of the same condition, or of none, leaves unset is as in the preset. Every field
// that has a default is set. The preset of the result is "none", so that it resolves to itself; armed_at and unable are
// cleared. For a valid set.
v1::RuleSet ResolveRules(const v1::RuleSet& rules);

// What a rule, a resolved one, measures, under its name: its condition and its tensors, in a form to compare. What is
// left out is what becomes of that: the severity, and how many steps it takes to fire and to be resolved.
std::string MeasureOf(const v1::Rule& rule);

// Steps that a rule, a resolved one, must have seen before the one on which it can fire first. Rules about stalls,
// which go by the time: 0.
int64_t ArmedAfter(const v1::Rule& rule);

// The first steps of a rule, and of what it may look at. What is not measured by the controls is not read.
struct RuleSince {
  int64_t judged = 0;   // that it judges
  int64_t counted = 0;  // that counts for its alert: where its for_steps or within_steps were changed, that is later
  int64_t norms = 0;    // with a statistics level of NORM or FULL
  int64_t updates = 0;  // with FULL
  int64_t layers = 0;   // with layer_statistics
};

// Fills armed_at and unable of a resolved rule in a run that has been watched from step 0 on under these controls. One
// that stands on what is kept for all rules has seen the steps before; one about layers judges steps of report_every. A
// rule that is unable, or that the server judges, has no armed_at; one that is unable and has one judges in part.
void DescribeArming(const v1::Controls& controls, const RuleSince& since, v1::Rule* rule);

// Adds to what DescribeArming said that a rule is unable whose glob matches none of these names.
void DescribeMatches(const std::vector<std::string>& tensor_names, v1::RuleSet* rules);

// Bytes that a detector of these rules, resolved ones, takes over the tensors of these names: nearly all of them for
// the histories of rules that look at every tensor.
int64_t DetectorBytes(const v1::RuleSet& rules, const std::vector<std::string>& tensor_names);

// Whose alerts a detector makes.
struct AlertIdentity {
  std::string job_id;
  std::string job_uid;
  int attempt = 1;
};

// Transitions are appended to `transitions`; a quiet step appends nothing and never allocates. Thread-compatible.
//
// A rule has one episode at a time: PENDING (only with for_steps above 1, and once half of them have held), FIRING
// once, RESOLVED once. A PENDING alert that never fires is RESOLVED too, at the first quiet step, because it has been
// told. RESOLVED keeps tensor, diagnosis and the worst value of the episode; its summary says how it ended and why it
// was. A step that a rule cannot judge (not measured, a non-finite value, too little history) changes nothing about its
// episode.
//
// Rules judge a step before it becomes part of what was usual, and outliers never do; how a lasting change becomes the
// usual nevertheless, and at what price, is told in core/detect/history.h. What rules share is in run_signals.h.
class Detector {
 public:
  // `tensor_names` in arena order. `rules` must be valid.
  Detector(const v1::RuleSet& rules, std::vector<std::string> tensor_names, AlertIdentity identity,
           RunFacts facts = {});
  ~Detector();

  // Judges the loss and the gradients of a step, before its update. Call once a step.
  void JudgeGradients(const StepRecord& record, absl::Time now, std::vector<v1::Alert>* transitions);
  // Judges the update of the same step, after it.
  void JudgeUpdate(const StepRecord& record, absl::Time now, std::vector<v1::Alert>* transitions);
  // Other rules, which must be valid, from `step` on. A rule that measures what it did (MeasureOf) goes on, with its
  // history, and its alert if that fires; the episode of one that is gone or measures another thing is resolved. What
  // is known of the run stays, so that a new rule that judges by it alone is armed at once. Allocates. Call between two
  // steps.
  void SetRules(const v1::RuleSet& rules, int64_t step, absl::Time now, std::vector<v1::Alert>* transitions);
  // The last step on which the condition of some rule has held, whatever became of its alert. -1: none has.
  int64_t last_holding() const;
  // Resolves what is firing because the job has ended at `step`.
  void Finish(int64_t step, absl::Time now, std::vector<v1::Alert>* transitions);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_DETECTOR_H_
