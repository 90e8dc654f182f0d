// Which rules hold in a job, since which step each of them does, and from which one on it can fire.
#ifndef GRADWATCH_SERVER_JOB_RULES_IN_FORCE_H_
#define GRADWATCH_SERVER_JOB_RULES_IN_FORCE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "core/detect/detector.h"
#include "gradwatch/v1/alert.pb.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::server {

struct JobRecord;

// Since which step of an attempt things hold that edits put in the place of others. A value.
class Ages {
 public:
  // An edit that was applied in `attempt`, from `step` on: what held before it, and what does after it, by name.
  void Fold(int32_t attempt, int64_t step, const std::set<std::string>& before, const std::set<std::string>& after);
  // The first step of one that holds now; 0: it did when the attempt began.
  int64_t Since(const std::string& name, int32_t attempt) const;

 private:
  using Steps = std::map<std::string, int64_t>;

  int32_t attempt_ = 0;  // the last one with such an edit
  int64_t step_ = 0;     // and the step from which the last one holds
  // Edits that are applied at one step are one change to the trainer: what the first takes away and the second brings
  // back goes on.
  Steps before_;
  Steps now_;
};

// Since when the rules of an attempt hold. One that an edit leaves as it is goes on (core::Detector::SetRules), and is
// older than the edit; so is the history of one that measures the same. Rules that look at what is not measured from
// the start judge later than they hold. A value.
class RuleAges {
 public:
  // Whether an edit changes the rules, or how much is measured.
  static bool Concerns(const v1::Adjustment& adjusted);
  // Such an edit, which was applied in `attempt`.
  void Fold(const v1::Adjustment& adjusted, int32_t attempt);
  // Since when a rule judges that holds now.
  core::RuleSince Since(const v1::Rule& rule, int32_t attempt) const;

 private:
  Ages judged_;   // by what rules measure
  Ages counted_;  // and by how many steps they take to fire
  Ages measured_;
};

// Of a stored set that a server resolved before presets were added to: it has all rules, under the name of a preset
// whose rules it must not get now. Fills in what has a default since. Sets of this server stay as they are.
void CompleteStoredRules(v1::RuleSet* rules);

// The rules that hold in a job now, or did when it ended, with everything filled in: also from which step each could
// fire, or why it cannot. Nothing of that where nobody can say it: of jobs that a foreign program judges. Records of
// jobs that have ended do not keep since when rules hold: `ages_of_ended`, which ReadRuleAges reads.
v1::RuleSet RulesInForce(const JobRecord& record, const RuleAges& ages_of_ended = {});

// Rules, resolved ones, as RulesInForce will tell them if they hold from `step` on and nothing else changes until then.
v1::RuleSet RulesFrom(int64_t step, v1::RuleSet rules, const JobRecord& record);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_RULES_IN_FORCE_H_
