#include "client/cli/unable_rules.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/rules_text.h"

namespace gradwatch::cli {
namespace {

// Whether it may have changed which rules can judge.
bool ConcernsRules(const v1::Adjustment& edit) {
  return std::any_of(edit.paths().begin(), edit.paths().end(), [](const std::string& path) {
    return path == "rules" || path == "statistics" || path == "layer_statistics";
  });
}

}  // namespace

void NoteUnableRules(const std::string& job_id, const v1::Adjustment& edit, const Session& session) {
  if (ConcernsRules(edit)) NoteUnableRules(job_id, session);
}

void NoteUnableRules(const std::string& job_id, const Session& session) {
  v1::GetRulesRequest request;
  request.set_job_id(job_id);
  const absl::StatusOr<v1::RuleSet> rules =
      session.connection().Call(session.connection().alerts(), &v1::AlertService::StubInterface::GetRules, request,
                                client::Repeat::kWhenUnavailable);
  if (!rules.ok()) return;
  for (const v1::Rule& rule : rules->rules()) {
    if (!rule.unable().empty()) session.Note(absl::StrCat("gradwatch: ", rule.name(), " ", UnableText(rule)));
  }
}

}  // namespace gradwatch::cli
