// The fields of rules with their comments in the protobuf files, which are the contract: for people who write rules.
#ifndef GRADWATCH_CLIENT_CLI_RULE_COMMENTS_H_
#define GRADWATCH_CLIENT_CLI_RULE_COMMENTS_H_

#include <string>
#include <vector>

namespace gradwatch::cli {

struct CommentedField {
  std::string name;
  std::string type;                   // "number", "whole number", "true or false", "text", "word"
  std::string comment;                // in one line: unit, range, and what it is when it is unset
  std::vector<CommentedField> words;  // that it may be; they have no type
};

struct CommentedCondition {
  std::string name;
  std::string summary;  // one sentence
  std::string comment;  // when it holds
  std::vector<CommentedField> fields;
};

struct CommentedRule {
  std::vector<CommentedField> fields;  // of every rule; not those that a server fills in
  std::vector<CommentedCondition> conditions;
};

// As this program was built. Lives for ever; thread-safe.
const CommentedRule& RuleComments();

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RULE_COMMENTS_H_
