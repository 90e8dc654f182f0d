// Conditions of rules as people say them.
#ifndef GRADWATCH_CLIENT_CLI_CONDITION_WORDS_H_
#define GRADWATCH_CLIENT_CLI_CONDITION_WORDS_H_

#include <string>

#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::cli {

// What a resolved rule watches for, with all its numbers: "norm above x20 its median of 30 steps, by 8 deviations". "":
// a rule without a condition that this program knows.
std::string ConditionWords(const v1::Rule& rule);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CONDITION_WORDS_H_
