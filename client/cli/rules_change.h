// How two sets of rules differ: as lines for people and as JSON.
#ifndef GRADWATCH_CLIENT_CLI_RULES_CHANGE_H_
#define GRADWATCH_CLIENT_CLI_RULES_CHANGE_H_

#include <string>
#include <vector>

#include "client/cli/json.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::cli {

// A value as files of rules have it, and as JSON.
struct FieldValue {
  std::string text = "unset";
  std::string json = "null";
};

// A field of a rule by its path ("norm_spike.window"), or "condition" where that is another one.
struct FieldChange {
  std::string field;
  FieldValue before;
  FieldValue after;
};

// A rule that is in both sets.
struct RuleChange {
  std::string rule;
  std::vector<FieldChange> fields;  // none: only what this version of gradwatch does not know
};

// By the names of the rules.
struct RulesChange {
  std::vector<std::string> added;
  std::vector<std::string> removed;
  std::vector<RuleChange> changed;

  bool empty() const { return added.empty() && removed.empty() && changed.empty(); }
};

// Which rules there are is compared, and what they say; neither their order nor what a server tells of them.
RulesChange ChangeOf(const v1::RuleSet& before, const v1::RuleSet& after);

// "added mine; removed loss_jump, loss_spike; changed non_finite (severity warning -> critical)"; empty: nothing
// differs.
std::string RulesChangeText(const RulesChange& change);
std::string RulesChangeText(const v1::RuleSet& before, const v1::RuleSet& after);

// The same for programs: added, removed, changed, of these rule and fields, and of those field, old and new.
JsonObject RulesChangeJson(const RulesChange& change);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULES_CHANGE_H_
