// The table of the fields of conditions: which values each may have, and what it is when it is unset.
#ifndef GRADWATCH_CORE_DETECT_RULE_FIELDS_H_
#define GRADWATCH_CORE_DETECT_RULE_FIELDS_H_

#include "core/base/error.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// Adds a violation for every field of the rule's condition that is out of its range ("norm_spike.window"), and for
// required ones that are unset. Nothing for a rule without a condition.
void CheckConditionFields(const v1::Rule& rule, FieldErrors* errors);

// Sets the fields of the rule's condition that are unset and have a default.
void SetConditionDefaults(v1::Rule* rule);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_RULE_FIELDS_H_
