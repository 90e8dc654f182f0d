// Rules as people read them.
#ifndef GRADWATCH_CLIENT_CLI_RULES_TEXT_H_
#define GRADWATCH_CLIENT_CLI_RULES_TEXT_H_

#include <string>

#include "gradwatch/v1/alert.pb.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::cli {

// The condition in words: "norm above x100 its median of 30 steps, by 10 deviations; on 2 of 3 steps; tensors
// *.weight".
std::string ConditionText(const v1::Rule& rule);

// Since when a rule can fire in a job: "from step 30", "not yet: needs 12 more steps"; why it cannot; or who knows:
// "judged by the program". Of a job that has ended, since when it could, or "never: ...". "-": it goes by the time and
// not by steps.
std::string ArmingText(const v1::Rule& rule, const v1::Job& job);
// Of one that is unable: "cannot judge: needs ...", "judges in part: ...".
std::string UnableText(const v1::Rule& rule);

// A row for each rule: name, severity, condition, arming.
std::string RulesTable(const v1::RuleSet& rules, const v1::Job& job);

// How many there are, and the names of the first: "3 rules (non_finite, loss_jump, mine)".
std::string RulesText(const v1::RuleSet& rules);

// A rule that is not off as people write it: without what a server says of it beside.
v1::Rule WrittenRule(v1::Rule rule);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULES_TEXT_H_
