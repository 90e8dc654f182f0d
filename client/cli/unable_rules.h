// Says which rules of a job cannot judge, after an edit that may have made them so.
#ifndef GRADWATCH_CLIENT_CLI_UNABLE_RULES_H_
#define GRADWATCH_CLIENT_CLI_UNABLE_RULES_H_

#include <string>

#include "client/cli/session.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::cli {

// A line on the error stream for each such rule, after an edit of the rules or of what is measured. A hint: nothing of
// other edits, and nothing where the rules cannot be read.
void NoteUnableRules(const std::string& job_id, const v1::Adjustment& edit, const Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_UNABLE_RULES_H_
