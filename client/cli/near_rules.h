// Says what somebody may not have meant who wrote rules: one beside those of the preset whose name is near to that of
// one of them, and a preset in the place of the default rules.
#ifndef GRADWATCH_CLIENT_CLI_NEAR_RULES_H_
#define GRADWATCH_CLIENT_CLI_NEAR_RULES_H_

#include "client/cli/session.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::cli {

// A line on the error stream for each rule of `written`, a set as people write it, that is a new one and whose name is
// one letter off that of another, which only the preset has. `resolved`: the same set as the server fills it in.
void NoteNearRules(const v1::RuleSet& written, const v1::RuleSet& resolved, const Session& session);

// A line on the error stream where `written` names another preset than the default one, whose rules are not there then:
// how many are gone, and how many rules there are.
void NoteReplacedDefaults(const v1::RuleSet& written, const v1::RuleSet& resolved, const Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_NEAR_RULES_H_
