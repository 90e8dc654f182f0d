// Says which rules of a job cannot judge it, when it was submitted and after an edit that may have made them so.
#ifndef GRADWATCH_CLIENT_CLI_UNABLE_RULES_H_
#define GRADWATCH_CLIENT_CLI_UNABLE_RULES_H_

#include <string>

#include "client/cli/session.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::cli {

// A line on the error stream for each rule that cannot judge the job, or not all of it. A hint: nothing where the rules
// cannot be read.
void NoteUnableRules(const std::string& job_id, const Session& session);
// The same after an edit of the rules or of what is measured; nothing of other edits.
void NoteUnableRules(const std::string& job_id, const v1::Adjustment& edit, const Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_UNABLE_RULES_H_
