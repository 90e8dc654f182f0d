#include "client/cli/near_rules.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/lib/suggestion.h"

namespace gradwatch::cli {

void NoteNearRules(const v1::RuleSet& written, const v1::RuleSet& resolved, const Session& session) {
  std::set<std::string> own;
  for (const v1::Rule& rule : written.rules()) own.insert(rule.name());
  std::vector<std::string> of_preset;
  for (const v1::Rule& rule : resolved.rules()) {
    if (own.count(rule.name()) == 0) of_preset.push_back(rule.name());
  }
  for (const std::string& name : own) {
    const std::string meant = client::NearestSuggestion(name, of_preset, /*most_edits=*/1);
    if (!meant.empty()) session.Note(absl::StrCat("gradwatch: ", name, " is a rule beside those of the preset", meant));
  }
}

}  // namespace gradwatch::cli
